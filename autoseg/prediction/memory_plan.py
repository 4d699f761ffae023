"""What a prediction may take of the memory: how many passes at once, and where and how precisely logits are collected.

The memory of the logits is estimated before they are allocated. Where a device refuses all the same, less is tried. Both
are remembered from case to case, so that there is one warning per folder.
"""

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from autoseg.base.memory import free_host_bytes, size
from autoseg.base.runtime import free_device_bytes
from autoseg.datasets.case import PreparedCase
from planners.schema.plan import Configuration

logger = logging.getLogger(__name__)

# Of a GPU's free memory: the rest is for the features of the network, which nothing here knows.
_DEVICE_SHARE = 0.5
# Of the host's free memory: export needs some 12 bytes per voxel beside the logits, and other processes grow, too.
_HOST_SHARE = 0.7
_EXPORT_BYTES_PER_VOXEL = 12
# For the features of passes side by side: a share of the host's free memory, and never more than so many bytes.
_PASSES_SHARE, _PASSES_BYTES = 0.5, 2**33
# Larger logits of a case are kept in half precision on a host, whatever is free: other programs need memory, too.
_LARGE_BYTES = 2**30
# Likewise images, of values up to this: rounded by at most one in two thousand, an eighth of what bfloat16 rounds by.
_LARGE_IMAGE_BYTES = 2**29
_LARGEST_VALUE = 2**11


@dataclass(frozen=True)
class MemoryPlan:
    """How many passes at once, in one batch, how many batches side by side, and where logits are collected."""

    at_once: int
    place: torch.device
    side_by_side: int = 1


class PredictionMemory:
    """What has worked so far on one device; a configuration keeps it for all its cases."""

    def __init__(self) -> None:
        self._most_at_once: int | None = None
        self._most_side_by_side: int | None = None
        self._logged: set[str] = set()

    def plans(self, at_once: int, device: torch.device, side_by_side: int = 1) -> list[MemoryPlan]:
        """The plans to try, from the fastest to the one that takes least memory."""
        host = torch.device("cpu")
        most, beside = _least(at_once, self._most_at_once), _least(side_by_side, self._most_side_by_side)
        plans = [MemoryPlan(n, device) for n in halves(most)]
        if beside > 1:
            return [MemoryPlan(most, device, beside), *plans]
        return plans if device.type == "cpu" else [*plans, MemoryPlan(1, host)]

    def side_by_side(self, wanted: int, bytes_each: int) -> int:
        """How many of the `wanted` batches of passes, each of which takes `bytes_each`, fit into a host's memory at the same
        time; at least one.
        """
        free = free_host_bytes()
        fitting = max(1, min(wanted, min(int(_PASSES_SHARE * free), _PASSES_BYTES) // bytes_each))
        if fitting < wanted:
            self._log_once(logging.INFO, "side by side", f"{fitting} of {wanted} passes side by side: each takes about "
                           f"{size(bytes_each)}, {size(free)} are free")
        return fitting

    def remember(self, memory_plan: MemoryPlan, device: torch.device, failure: str | None) -> None:
        """The plan that worked; `failure` is what the plan before it failed with, None where there was none before."""
        if failure is None:
            return
        # Where logits go is decided for each case: one may fit that another does not.
        if memory_plan.place.type == device.type:
            self._most_at_once, self._most_side_by_side = memory_plan.at_once, memory_plan.side_by_side
        tiles = f"{memory_plan.at_once} tile{'s' if memory_plan.at_once > 1 else ''}"
        self._log_once(logging.WARNING, f"passes {memory_plan}", f"{device} has too little memory ({failure}): predicting "
                       f"{tiles} at a time, logits collected on {memory_plan.place}")

    def allocate(self, n_heads: int, shape: tuple[int, ...], place: torch.device, *, depth: int = 0, exact: bool = False
                 ) -> torch.Tensor:
        """Zeros (K, D, H, W) to collect logits in: float32 on `place` if there is memory, else on the host, there as float16
        where they are large or do not fit; with `exact` never as float16, which cannot hold the smallest weights of a tile.
        """
        n_voxels = math.prod(shape)
        if place.type == "cuda" and 4 * n_heads * n_voxels > _DEVICE_SHARE * free_device_bytes(place):
            self._log_once(logging.INFO, "place",
                           f"{place} has no memory for the logits of a whole case: they go to host memory")
            place = torch.device("cpu")
        dtype = torch.float32
        if place.type == "cpu":
            needed, free = bytes_of_logits(n_heads, shape, depth), _HOST_SHARE * free_host_bytes()
            is_large = _are_large(n_heads, shape) and rows_pay(depth, shape)
            if not exact and (is_large or needed > free):
                dtype = torch.float16
                why = "they are large" if is_large else f"with export they take {size(needed)}, {size(free)} may be used"
                self._log_once(logging.INFO, "half", f"the logits of a case are kept in half precision: {why}")
        with torch.inference_mode(False):  # an inference tensor would refuse to be changed later
            if place.type == "cpu" and dtype == torch.float16:  # NumPy's zeros take memory when they are written to
                return torch.from_numpy(np.zeros((n_heads, *shape), np.float16))
            return torch.zeros(n_heads, *shape, dtype=dtype, device=place)

    def _log_once(self, level: int, kind: str, message: str) -> None:
        """Each kind once for all cases."""
        if kind not in self._logged:
            self._logged.add(kind)
            logger.log(level, "%s", message)


def compact(prepared: PreparedCase) -> PreparedCase:
    """The case with a large image in half precision; tiles become float32 before a network sees them."""
    if 4 * math.prod(prepared.image_CDHW.shape) <= _LARGE_IMAGE_BYTES:
        return prepared
    image_CDHW: np.ndarray = prepared.image_CDHW[:]
    if max(-float(image_CDHW.min()), float(image_CDHW.max())) > _LARGEST_VALUE:
        return prepared
    return replace(prepared, image_CDHW=image_CDHW.astype(np.float16))


def bytes_of_logits(n_heads: int, shape: tuple[int, ...], depth: int = 0, *, exact: bool = False) -> int:
    """Host memory that logits (K, D, H, W) need, and the larger of what summing tiles of a `depth` and exporting takes: as
    float32, or where they are large, and need not be `exact`, as float16.
    """
    n_voxels = math.prod(shape)
    if exact or not rows_pay(depth, shape) or not _are_large(n_heads, shape):
        return (4 * n_heads + _EXPORT_BYTES_PER_VOXEL) * n_voxels
    summed = 4 * n_heads * depth * n_voxels // shape[0]
    return 2 * n_heads * n_voxels + max(summed, _EXPORT_BYTES_PER_VOXEL * n_voxels)


def bytes_of_pass(configuration: Configuration, n_inputs: int, n_heads: int, n_tiles: int) -> int:
    """Memory of a host that a forward pass of so many tiles takes, at most: what a training would keep of it, of which a
    prediction holds a third to nine tenths at a time, and two copies of the logits.
    """
    kept = configuration.architecture.cost(configuration.patch, n_inputs, n_heads, batch=n_tiles).activation_bytes
    return kept + 8 * n_heads * n_tiles * math.prod(configuration.patch)


def rows_pay(depth: int, shape: tuple[int, ...]) -> bool:
    """Whether rows that tiles of a `depth` still add to may be summed in float32 beside all rows in half precision: together
    they then take less than all in float32.
    """
    return 2 * depth < shape[0]


def _are_large(n_heads: int, shape: tuple[int, ...]) -> bool:
    return 4 * n_heads * math.prod(shape) > _LARGE_BYTES


def _least(n: int, known: int | None) -> int:
    return n if known is None else min(n, known)


def halves(n: int) -> Iterator[int]:
    """n, its half, and so on down to one."""
    while n > 1:
        yield n
        n //= 2
    yield 1
