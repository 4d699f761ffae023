"""Sliding-window prediction: a case in overlapping tiles, mirrored, by one model or several, blended by a Gaussian."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations

import numpy as np
import torch
from torch import nn

from autoseg.base.errors import TrainingFailed
from autoseg.base.runtime import Runtime, is_out_of_memory
from autoseg.base.threads import threads_to_share
from autoseg.clinical.encoded import ConditionBatch
from autoseg.prediction.collect import Progress, Work, collect
from autoseg.prediction.memory_plan import PredictionMemory, bytes_of_pass
from autoseg.prediction.tiles import cover
from planners.schema.plan import Configuration

# Voxels of the tiles that are predicted at once: enough to fill the device, a fraction of what training needs.
_VOXELS_AT_ONCE = {"cuda": 2**22, "mps": 2**20, "cpu": 2**18}
# Voxels of a tile up to which passes are made side by side on a CPU. In larger ones a thread finds enough to do in every
# operation, and two passes take twice the memory (benchmarks/side_by_side.py).
_LARGEST_SIDE_BY_SIDE = 2**18


def predict_logits(models: nn.Module | Sequence[nn.Module], image_CDHW: np.ndarray | torch.Tensor,
                   configuration: Configuration, runtime: Runtime, *, present_C: np.ndarray | None = None,
                   absent_CDHW: np.ndarray | None = None,
                   conditions: Sequence[ConditionBatch | None] | None = None,
                   mirror_axes: tuple[int, ...] | None = None,
                   head_swap: tuple[int, ...] | None = None, pair_axis: int | None = None, at_once: int | None = None,
                   n_heads: int = 1, maybe: Callable[[torch.Tensor], torch.Tensor] | None = None,
                   memory: PredictionMemory | None = None,
                   progress: Progress = lambda done, total: None) -> torch.Tensor:
    """Logits (K, D, H, W), float32 or for lack of memory float16, of a prepared image (C, D, H, W) on the plan's grid.

    `models` are on the runtime's device and in evaluation mode; their logits are averaged. A 2D configuration predicts
    every slice along the first axis. `absent_CDHW` (bool, of the plan's channels) marks what lies outside a channel's
    field of view. `conditions` are of this case, as each of the models encodes them, with a batch axis of one.

    `mirror_axes` (default: the configuration's; empty: no mirroring) are axes of the patch; the logits of all 2^n
    mirrored copies are averaged. Where `pair_axis`, also of the patch, is mirrored, head k takes the logits of head
    `head_swap[k]`, and a cascade's input channels swap likewise: a left organ looks like a right one in a mirror.

    With `maybe`, which says of logits (K, ...) where they may mean more than background (bool, (...)), the case is first
    looked at with few tiles and without mirroring, and predicted in full only where that is suspicious.

    On a CPU passes of small tiles are made side by side, each by a share of the threads that torch takes for the calling
    thread, where their memory, estimated for `n_heads`, is free. `models` are then called by several threads at the same
    time. Logits are added in the order of the passes, whichever is ready first.

    The result lies on the device if there is memory. Where that has too little memory, fewer passes at once are tried (from
    `at_once`), then the result is collected in host memory. `memory` remembers what worked from case to case and warns once.
    Raises TrainingFailed where that fails too, and where logits are not finite. `progress(done, total)` counts forward
    passes of single tiles.
    """
    models = [models] if isinstance(models, nn.Module) else list(models)
    image = torch.as_tensor(image_CDHW)
    flat = 3 - configuration.dimensions
    axes = configuration.mirror_axes if mirror_axes is None else mirror_axes
    swap = None
    if head_swap is not None and pair_axis is not None:
        n_images = len(configuration.normalizers)
        swap = _Swap(pair_axis % configuration.dimensions + flat, head_swap,
                     _channel_swap(head_swap, n_images, image.shape[0] - n_images))
    given = Given(None if present_C is None else torch.as_tensor(present_C, device=runtime.device)[None],
                   [encoded and encoded.to(runtime.device) for encoded in conditions or [None] * len(models)],
                   0 if absent_CDHW is None else len(absent_CDHW))
    if absent_CDHW is not None:  # cropped, mirrored and padded with the image; padding is not absent
        image = torch.cat([image.float(), torch.as_tensor(absent_CDHW).float()])
    network = TileNetwork(models, runtime, configuration.dimensions, given, swap)
    tiling = cover(image.shape[1:], configuration.patch)
    work = Work(network, runtime.device, tiling.padded(image), tiling, _subsets(tuple(axis + flat for axis in axes)), maybe)
    memory = memory or PredictionMemory()
    at_once, beside = _sizes(work, at_once)
    if beside > 1:
        beside = memory.side_by_side(beside, bytes_of_pass(configuration, len(image), n_heads, at_once))
    with runtime.same_shapes():
        logits = _within_memory(work, at_once, beside, memory, progress)
    # A sum shows what is not finite without a mask of the size of the case.
    if not all(math.isfinite(float(head.sum(dtype=torch.float32))) for head in logits):
        raise TrainingFailed("the network's logits are not finite", do="train the fold again, with a lower learning rate")
    return tiling.unpadded(logits)


def _sizes(work: Work, at_once: int | None) -> tuple[int, int]:
    """How many passes are in a batch (`at_once`, if that is given), and how many batches are side by side: of small tiles on
    a CPU one per thread, if there are so many passes.
    """
    shares = work.device.type == "cpu" and math.prod(work.tiling.size) <= _LARGEST_SIDE_BY_SIDE
    threads = threads_to_share() if shares else 1
    if at_once is None:
        at_once = max(1, min(tiles_at_once(work.tiling.size, work.device) // threads, math.ceil(len(work) / threads)))
    return at_once, min(threads, math.ceil(len(work) / at_once))


def tiles_at_once(patch: Sequence[int], device: torch.device) -> int:
    """Tiles of this size that are predicted together."""
    return max(1, _VOXELS_AT_ONCE[device.type] // math.prod(patch))


@dataclass(frozen=True)
class _Swap:
    """What changes places when `axis` (of three) is mirrored."""

    axis: int
    heads: tuple[int, ...]
    channels: tuple[int, ...]


@dataclass(frozen=True)
class Given:
    """What models are given beside the image: the channels that are present, the conditions as each model encodes them, and
    how many of a tile's last channels say what is absent.
    """

    present_1C: torch.Tensor | None
    conditions: Sequence[ConditionBatch | None]
    n_absent: int


@dataclass(frozen=True)
class TileNetwork:
    """Models and what they are given beside the image, as a function of tiles and of the axes along which each is mirrored.
    """

    models: Sequence[nn.Module]
    runtime: Runtime
    dimensions: int
    given: Given
    swap: _Swap | None = None

    def __call__(self, tiles_BCDHW: torch.Tensor, flips: Sequence[tuple[int, ...]]) -> torch.Tensor:
        """Mean logits (B, K, D, H, W), float32, of tiles that are mirrored for the network and back."""
        n_images = tiles_BCDHW.shape[1] - self.given.n_absent
        swaps = [self.swap if self.swap is not None and self.swap.axis in axes else None for axes in flips]
        image = torch.stack([
            _flipped(tile if swap is None else torch.cat([tile[list(swap.channels)], tile[n_images:]]), axes)
            for tile, axes, swap in zip(tiles_BCDHW.float(), flips, swaps, strict=True)])
        logits = self._forward(image[:, :n_images], image[:, n_images:] > 0 if self.given.n_absent else None)
        return torch.stack([_flipped(logits_KDHW if swap is None else logits_KDHW[list(swap.heads)], axes)
                            for logits_KDHW, axes, swap in zip(logits, flips, swaps, strict=True)])

    def _forward(self, image_BCDHW: torch.Tensor, absent_BCDHW: torch.Tensor | None) -> torch.Tensor:
        n, flat = len(image_BCDHW), self.dimensions == 2
        image = self.runtime.arranged(image_BCDHW[:, :, 0] if flat else image_BCDHW, self.dimensions)
        absent = absent_BCDHW[:, :, 0] if flat and absent_BCDHW is not None else absent_BCDHW
        present = None if self.given.present_1C is None else self.given.present_1C.expand(n, -1)
        with self.runtime.autocast():
            logits = sum(model(image, present, conditions and repeated(conditions, n), absent).float()
                         for model, conditions in zip(self.models, self.given.conditions, strict=True)) / len(self.models)
        return logits[:, :, None] if flat else logits


def _within_memory(work: Work, at_once: int, beside: int, memory: PredictionMemory, progress: Progress) -> torch.Tensor:
    """The logits, by the first plan that the memory suffices for."""
    failure = None
    for memory_plan in memory.plans(at_once, work.device, beside):
        try:
            logits = collect(work, memory_plan, memory, progress)
        except (MemoryError, RuntimeError) as error:
            if not isinstance(error, MemoryError) and not is_out_of_memory(error):
                raise
            failure = (str(error) or type(error).__name__).splitlines()[0]
        else:
            memory.remember(memory_plan, work.device, failure)
            return logits
        # Outside of the handler, whose traceback keeps the tensors alive.
        if work.device.type == "cuda":
            torch.cuda.empty_cache()
    raise TrainingFailed(f"{work.device} has too little memory for a single tile", found=failure,
                         do="predict with --device cpu, or train with a smaller --memory")


def _channel_swap(head_swap: tuple[int, ...], n_images: int, n_previous: int) -> tuple[int, ...]:
    """The input channels' permutation: a cascade has one channel per foreground head after the images."""
    background = len(head_swap) - n_previous
    return (*range(n_images), *(n_images + head_swap[background + i] - background for i in range(n_previous)))


def repeated(conditions: ConditionBatch, n: int) -> ConditionBatch:
    """One patient's conditions for n samples."""
    return conditions.map(lambda tensor: tensor.expand(n, *tensor.shape[1:]))


def _flipped(image_CDHW: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    return image_CDHW.flip([axis + 1 for axis in axes]) if axes else image_CDHW


def _subsets(axes: Iterable[int]) -> tuple[tuple[int, ...], ...]:
    axes = tuple(axes)
    return tuple(chain.from_iterable(combinations(axes, n) for n in range(len(axes) + 1)))
