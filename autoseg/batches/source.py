"""The prepared cases of a fold: on the device where they fit, else read from the disk window by window."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from autoseg.base.errors import UserError
from autoseg.data.case import PreparedCase
from autoseg.data.readers.prepared import open_prepared

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LesionIndex:
    """Voxels (N, 3) of one class, sorted by the lesion they belong to; lesion k is `starts[k]:starts[k + 1]`."""

    voxels: np.ndarray
    starts: np.ndarray

    @property
    def n_lesions(self) -> int:
        return len(self.starts) - 1


@dataclass(frozen=True)
class StoredCase:
    """One case of a store. Arrays are torch tensors on the device (resident) or arrays that are read when sliced."""

    name: str
    image_CDHW: Any
    label_DHW: Any
    previous_DHW: Any | None
    present_C: np.ndarray  # bool
    index: dict[str, LesionIndex]  # of the classes that the case holds

    @property
    def shape(self) -> tuple[int, int, int]:
        return tuple(self.label_DHW.shape)


@dataclass(frozen=True)
class CaseStore:
    """The cases that a fold trains on: a resident store's patches are cut on `device`, a streamed one's on the CPU."""

    cases: tuple[StoredCase, ...]
    device: torch.device
    resident: bool

    @property
    def n_channels(self) -> int:
        return self.cases[0].image_CDHW.shape[0]

    def read(self, case: StoredCase, window: tuple[slice, ...]
             ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Image (C, d, h, w), label and previous (d, h, w) of a window inside the case; a UserError names the case."""
        try:
            previous = None if case.previous_DHW is None else self._tensor(case.previous_DHW[window])
            return self._tensor(case.image_CDHW[(slice(None), *window)]), self._tensor(case.label_DHW[window]), previous
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError("the prepared case cannot be read", where=case.name, found=error,
                            do="prepare the dataset again") from error

    def _tensor(self, values: Any) -> torch.Tensor:
        return values if self.resident else torch.from_numpy(np.ascontiguousarray(values))


def open_cases(folder: Path, names: Sequence[str], device: torch.device | str, limit_bytes: int,
               dtype: torch.dtype = torch.float32) -> CaseStore:
    """The prepared cases `names` of a folder, resident on `device` if all fit into `limit_bytes`, else streamed.

    `dtype` is that of resident images; half precision doubles what fits. Patches are float32 in any case.
    """
    return store_cases((_open(folder, name) for name in names), device, limit_bytes, dtype)


def store_cases(prepared: Iterable[PreparedCase], device: torch.device | str, limit_bytes: int,
                dtype: torch.dtype = torch.float32) -> CaseStore:
    """As `open_cases`, from opened cases."""
    device = torch.device(device)
    opened = tuple(_stored(case) for case in prepared)
    if not opened:
        raise UserError("there is no case to train on", do="check the split")
    needed = sum(_bytes(case, dtype) for case in opened)
    resident = needed <= limit_bytes
    logger.info("%d cases, %.2f GB: %s", len(opened), needed / 1e9,
                f"kept on {device}" if resident else "read from the disk patch by patch")
    cases = tuple(_loaded(case, device, dtype) for case in opened) if resident else opened
    return CaseStore(cases, device, resident)


def _open(folder: Path, name: str) -> PreparedCase:
    try:
        return open_prepared(folder, name)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        raise UserError("the prepared case cannot be opened", where=f"{folder}/{name}", found=error,
                        do="prepare the dataset again") from error


def _stored(case: PreparedCase) -> StoredCase:
    if case.label_DHW is None:
        raise UserError("the prepared case has no label", where=case.name, do="leave it out of the training cases")
    index = {name: _lesion_index(voxels, case.lesions.get(name)) for name, voxels in case.foreground.items()
             if len(voxels)}
    return StoredCase(case.name, case.image_CDHW, case.label_DHW, case.previous_DHW,
                      np.asarray(case.present_C, bool), index)


def _lesion_index(voxels: np.ndarray, lesion: np.ndarray | None) -> LesionIndex:
    """A class without lesion numbers counts as one lesion."""
    lesion = np.zeros(len(voxels), int) if lesion is None else np.asarray(lesion)
    order = np.argsort(lesion, kind="stable")
    _, starts = np.unique(lesion[order], return_index=True)
    return LesionIndex(np.asarray(voxels)[order], np.append(starts, len(voxels)))


def _bytes(case: StoredCase, dtype: torch.dtype) -> int:
    n_voxels = int(np.prod(case.shape))
    maps = 1 if case.previous_DHW is None else 2
    return n_voxels * (case.image_CDHW.shape[0] * dtype.itemsize + maps * torch.int16.itemsize)


def _loaded(case: StoredCase, device: torch.device, dtype: torch.dtype) -> StoredCase:
    def load(array: Any, kind: torch.dtype) -> torch.Tensor:
        return torch.from_numpy(np.array(array[:])).to(device, kind)

    try:
        previous = None if case.previous_DHW is None else load(case.previous_DHW, torch.int16)
        return StoredCase(case.name, load(case.image_CDHW, dtype), load(case.label_DHW, torch.int16), previous,
                          case.present_C, case.index)
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError("the prepared case cannot be loaded", where=case.name, found=error,
                        do="prepare the dataset again, or free memory") from error
