"""The cases that a worker has read, for the next stage: the files of a small dataset are read once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from autoseg.base.memory import free_host_bytes
from autoseg.base.processes import cores
from autoseg.datasets.case import Case, CaseFiles
from autoseg.datasets.raw import checked_label, load_case
from autoseg.formats import files_of
from autoseg.formats.files import file_state, is_file
from autoseg.grids.transform import Transform
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

# Cases are cached up to this in each worker. With one worker per core, all of them cache up to this share of the memory that
# is free when they read their first case.
_MOST_BYTES = 2**28
_SHARE = 1 / 4
_LARGEST_CASE_BYTES = 2**24  # of larger ones reading is a small part of the work

FilesState = tuple[tuple[Path, tuple[int, int, int]], ...]
State = tuple[FilesState, tuple[ChannelSpec, ...], tuple[str, ...], LabelSpec]  # all that decides what is read


class CaseCache:
    """Cases as they were read, in no more than `max_bytes`. A case whose files changed is read again."""

    def __init__(self, max_bytes: int):
        self._left_bytes = max_bytes
        self._known: dict[str, tuple[State, Case]] = {}

    def label(self, files: CaseFiles, labels: LabelSpec) -> np.ndarray | None:
        """The label (z, y, x) of a case that was read before and has not changed since; nobody may change it."""
        known = self._known.get(files.name)
        if known is None or known[0][::3] != (_files_state(files), labels):
            return None
        return known[1].label_DHW

    def load(self, files: CaseFiles, channels: Sequence[ChannelSpec], labels: LabelSpec) -> Case:
        """As `load_case`, or what was read before; nobody may change it."""
        state = (_files_state(files), tuple(channels), files.modalities, labels)
        known = self._known.get(files.name)
        if known is not None and known[0] == state:
            return known[1]
        case = load_case(files, channels, labels)
        n_bytes = sum(array.nbytes for array in (case.image_CDHW, case.label_DHW, case.absent_CDHW) if array is not None)
        if known is None and n_bytes <= min(self._left_bytes, _LARGEST_CASE_BYTES):
            self._left_bytes -= n_bytes
            self._known[files.name] = state, case
        return case


_worker_cache: CaseCache | None = None


def load_cached(files: CaseFiles, channels: Sequence[ChannelSpec], labels: LabelSpec, transforms: Mapping[int, Transform]
                ) -> Case:
    """As `load_case`, from the cache of this process where `transforms` are empty. For workers, whose life is short."""
    global _worker_cache
    if transforms:
        return load_case(files, channels, labels, transforms)
    if _worker_cache is None:
        _worker_cache = CaseCache(min(_MOST_BYTES, int(_SHARE * free_host_bytes() / cores())))
    return _worker_cache.load(files, channels, labels)


def cached_label(files: CaseFiles, labels: LabelSpec) -> np.ndarray:
    """The label (z, y, x) of a case that has one, from the cache of this process or from its file; nobody may change it."""
    known = None if _worker_cache is None else _worker_cache.label(files, labels)
    if known is not None:
        return known
    assert files.label is not None
    return checked_label(files.label, labels)


def _files_state(files: CaseFiles) -> FilesState:
    """What changes with the content of a case's files, or where others take their place."""
    return tuple((file, file_state(file)) for path in (*files.images, files.label) if path is not None and is_file(path)
                 for file in files_of(path))
