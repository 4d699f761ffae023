"""The prepared cases of a fold: on the device where they fit, else read from the disk window by window."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch

from autoseg.base.errors import UserError
from autoseg.clinical.encoded import EncodedConditions
from autoseg.datasets.case import PreparedCase

logger = logging.getLogger(__name__)


class Voxels(Protocol):
    """A tensor, an array in memory, or an opened array on the disk, which is read where it is sliced."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def __getitem__(self, window: Any, /) -> Any: ...


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
    """One case of a store. Arrays are tensors on the device (resident) or arrays that are read where they are sliced.

    `annotated_K` says which foreground names were annotated; None: all.
    """

    name: str
    image_CDHW: Voxels
    label_DHW: Voxels
    previous_DHW: Voxels | None
    absent_CDHW: Voxels | None  # bool; None: no voxel is absent
    present_C: np.ndarray  # bool
    index: dict[str, LesionIndex]  # of the classes that the case holds
    conditions: EncodedConditions | None = None
    annotated_K: tuple[bool, ...] | None = None
    weight: float = 1.0  # how often it is drawn, in proportion to the others

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.label_DHW.shape)


@dataclass(frozen=True)
class Patch:
    """What lies in a window of a case; of a resident store, a view of its tensors."""

    image_CDHW: torch.Tensor
    label_DHW: torch.Tensor
    previous_DHW: torch.Tensor | None
    absent_CDHW: torch.Tensor | None  # bool


@dataclass(frozen=True)
class CaseStore:
    """The cases that a fold trains on: a resident store's patches are cut on `device`, a streamed one's on the CPU.

    Whether batches have absent voxels and annotations is a matter of the store, not of the cases drawn, so that a compiled
    model sees one form of batch. Either all cases have conditions or none.
    """

    cases: tuple[StoredCase, ...]
    device: torch.device
    resident: bool

    @property
    def n_channels(self) -> int:
        return self.cases[0].image_CDHW.shape[0]

    @property
    def has_absent(self) -> bool:
        """Whether any case has voxels outside a channel's field of view."""
        return any(case.absent_CDHW is not None for case in self.cases)

    @property
    def is_partial(self) -> bool:
        """Whether any case lacks the annotation of a foreground name."""
        return any(case.annotated_K is not None for case in self.cases)

    def read(self, case: StoredCase, window: tuple[slice, ...]) -> Patch:
        """What lies in a window inside the case; a UserError names a case that cannot be read."""
        try:
            previous = None if case.previous_DHW is None else self._tensor(case.previous_DHW[window])
            absent = None if case.absent_CDHW is None else self._tensor(case.absent_CDHW[(slice(None), *window)])
            return Patch(self._tensor(case.image_CDHW[(slice(None), *window)]), self._tensor(case.label_DHW[window]),
                       previous, absent)
        except (OSError, RuntimeError, ValueError) as error:
            raise UserError("the prepared case cannot be read", where=case.name, found=error,
                            do="prepare the dataset again") from error

    def _tensor(self, values: Any) -> torch.Tensor:
        return values if self.resident else torch.from_numpy(np.ascontiguousarray(values))


def store_cases(prepared: Iterable[PreparedCase], device: torch.device | str, limit_bytes: int,
                dtype: torch.dtype = torch.float32, *, conditions: Mapping[str, EncodedConditions] | None = None,
                annotated: Mapping[str, tuple[bool, ...]] | None = None, weights: Mapping[str, float] | None = None
                ) -> CaseStore:
    """The opened cases, resident on `device` if all fit into `limit_bytes`, else streamed.

    `dtype` is that of resident images; half precision doubles what fits. Patches are float32 in any case. `conditions`
    has the encoded conditions of every case by its name. `annotated` says of the cases that are labelled in part which
    foreground names were annotated, in declared order. `weights` says how often cases are drawn, 1 where it does not.
    """
    device = torch.device(device)
    opened = tuple(_stored(case, None if conditions is None else conditions[case.name], (annotated or {}).get(case.name),
                           (weights or {}).get(case.name, 1.0)) for case in prepared)
    if not opened:
        raise UserError("there is no case to train on", do="check the split")
    needed = sum(_bytes(case, dtype) for case in opened)
    resident = needed <= limit_bytes
    logger.info("%d cases, %.2f GB: %s", len(opened), needed / 1e9,
                f"loaded on {device}" if resident else "read from the disk patch by patch")
    cases = tuple(_loaded(case, device, dtype) for case in opened) if resident else opened
    return CaseStore(cases, device, resident)


def _stored(case: PreparedCase, conditions: EncodedConditions | None, annotated_K: tuple[bool, ...] | None,
            weight: float) -> StoredCase:
    if case.label_DHW is None:
        raise UserError("the prepared case has no label", where=case.name, do="leave it out of the training cases")
    index = {name: _lesion_index(voxels, case.lesions.get(name)) for name, voxels in case.foreground.items()
             if len(voxels)}
    partial = annotated_K is not None and not all(annotated_K)
    return StoredCase(case.name, case.image_CDHW, case.label_DHW, case.previous_DHW, case.absent_CDHW,
                      np.asarray(case.present_C, bool), index, conditions, annotated_K if partial else None, weight)


def _lesion_index(voxels: np.ndarray, lesion: np.ndarray | None) -> LesionIndex:
    """A class without lesion numbers counts as one lesion."""
    lesion = np.zeros(len(voxels), int) if lesion is None else np.asarray(lesion)
    order = np.argsort(lesion, kind="stable")
    _, starts = np.unique(lesion[order], return_index=True)
    return LesionIndex(np.asarray(voxels)[order], np.append(starts, len(voxels)))


def _bytes(case: StoredCase, dtype: torch.dtype) -> int:
    n_voxels = int(np.prod(case.shape))
    maps = 1 if case.previous_DHW is None else 2
    per_channel = dtype.itemsize + (0 if case.absent_CDHW is None else torch.bool.itemsize)
    return n_voxels * (case.image_CDHW.shape[0] * per_channel + maps * torch.int16.itemsize)


def _loaded(case: StoredCase, device: torch.device, dtype: torch.dtype) -> StoredCase:
    def load(array: Voxels, kind: torch.dtype) -> torch.Tensor:
        return torch.from_numpy(np.array(array[:])).to(device, kind)

    try:
        return replace(case, image_CDHW=load(case.image_CDHW, dtype), label_DHW=load(case.label_DHW, torch.int16),
                       previous_DHW=None if case.previous_DHW is None else load(case.previous_DHW, torch.int16),
                       absent_CDHW=None if case.absent_CDHW is None else load(case.absent_CDHW, torch.bool))
    except (OSError, RuntimeError, ValueError) as error:
        raise UserError("the prepared case cannot be loaded", where=case.name, found=error,
                        do="prepare the dataset again, or free memory") from error
