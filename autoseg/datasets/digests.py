"""Digests of raw files and of a whole dataset. A process hashes a file once for as long as the file stays the same."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TypeVar

import numpy as np

from autoseg.base.processes import cores
from autoseg.datasets.case import CaseFiles, RawFile
from autoseg.datasets.manifest import Manifest
from autoseg.formats.arrays import ENDING
from autoseg.formats.files import combined_digest, digest, file_bytes, file_state, file_times, is_file
from autoseg.formats.transforms import read_transforms
from autoseg.grids.transform import Transform
from planners.schema.base import Part
from planners.schema.conditions import ConditionTable

FileState = tuple[int, int, int]  # number, size and time, of `file_state`

J = TypeVar("J")
T = TypeVar("T")

# The clock of a file system is coarse: a file that was written just now can be written again and keep its time.
_SETTLED_NS = 2_000_000_000
_LARGE_FILE = 2**22
_MOST_THREADS = 8


@dataclass(frozen=True)
class HashedFile:
    """The digest of a file's content, and the state of the file when it was hashed."""

    state: FileState
    digest: str


_hashed: dict[Path, HashedFile] = {}  # of this process


def file_digest(path: Path) -> str:
    """BLAKE2b of a file's content, remembered for as long as inode, size and time of the file are the same."""
    state = file_state(path)
    known = _hashed.get(path)
    if known is not None and known.state == state:
        return known.digest
    is_settled = time.time_ns() - state[2] > _SETTLED_NS
    content = digest(path)
    if is_settled:
        _hashed[path] = HashedFile(state, content)
    return content


def hashed_files(files: CaseFiles) -> dict[Path, HashedFile]:
    """What this process remembers of a case's images and label; for another process to `remember`."""
    return {path: _hashed[path] for path in (*files.images, files.label) if path in _hashed}


def remember(hashed: Mapping[Path, HashedFile]) -> None:
    """Take over what another process hashed; a file that changed since is hashed again."""
    _hashed.update(hashed)


def case_digest(files: CaseFiles, transforms: Mapping[int, Transform] | None = None) -> str:
    """Digest of the content of a case's files, in the order of its channels, of how channels were registered, and of the
    modalities of channels that have several.
    """
    content = [part for path in (*files.images, files.label)
               for part in ([""] if path is None else map(file_digest, files.source(path).files()))]
    content += [f"modality {modality}" for modality in files.modalities]
    return combined_digest([*content, *(f"{c} {_transform_digest(by)}" for c, by in sorted((transforms or {}).items()))])


def raw_files(files: CaseFiles) -> tuple[RawFile, ...]:
    """The state and the digest of each file of a case: its channels in their order, then its label."""
    recorded = []
    for channel, path in _listed(files):
        size, mtime_ns, ctime_ns = file_times(path)  # before the content is read: what is written meanwhile is noticed
        recorded.append(RawFile(channel=channel, name=path.name, size=size, mtime_ns=mtime_ns, ctime_ns=ctime_ns,
                                digest=file_digest(path)))
    return tuple(recorded)


def changed_kinds(files: CaseFiles, known: Sequence[RawFile]) -> tuple[str, ...]:
    """Which of `image` and `label` are no longer what they were. Files whose size and times are the same are not read."""
    now = _listed(files)
    if len(now) == len(known) and all(_is_same(path, channel, file)
                                      for (channel, path), file in zip(now, known, strict=True)):
        return ()
    present = raw_files(files)
    return tuple(kind for kind in ("image", "label")
                 if [(file.channel, file.digest) for file in present if file.kind == kind]
                 != [(file.channel, file.digest) for file in known if file.kind == kind])


def _listed(files: CaseFiles) -> list[tuple[int | None, Path]]:
    channels: list[tuple[int | None, Path | None]] = [*enumerate(files.images), (None, files.label)]
    return [(channel, path) for channel, image in channels if image is not None
            for path in files.source(image).files()]


def _is_same(path: Path, channel: int | None, known: RawFile) -> bool:
    return (channel, path.name, *file_times(path)) == (known.channel, known.name, known.size, known.mtime_ns, known.ctime_ns)


def dataset_digest(folder: Path, manifest: Manifest, cases: Mapping[str, str]) -> str:
    """Digest of what a dataset declares, of its `cases` (the digest of each by its name), its table, vectors and tokens."""
    declared = [manifest.labels.model_dump_json(), *(channel.model_dump_json() for channel in manifest.channels)]
    declared += [manifest.preprocess.model_dump_json()] if manifest.preprocess != Part(name="none") else []
    declared += [f"{channel} {column}" for channel, column in sorted(manifest.modality_columns.items())]
    beside = _conditions_digests(folder, manifest.conditions, sorted(cases))
    return combined_digest([*declared, *(f"{name} {cases[name]}" for name in sorted(cases)), *beside])


def transforms_of(folder: Path | None, files: CaseFiles) -> Mapping[int, Transform]:
    """What registration found for the channels of a case, by their place in its files; nothing without a `folder` of such
    results.
    """
    transforms = {} if folder is None else read_transforms(folder, files.name)
    return {place: transforms[number] for place in range(len(files.images))
            if (number := files.number_of(place)) in transforms}


def map_files(read: Callable[[J], T], jobs: Sequence[J], files_of_first: Iterable[Path | None]) -> list[T]:
    """`read(job)` of each job. Threads do it where the files of the first job are large: reading and checksums then release
    the interpreter's lock for so long that it pays.
    """
    if max((file_bytes(path) for path in files_of_first if path is not None), default=0) < _LARGE_FILE:
        return list(map(read, jobs))
    with ThreadPoolExecutor(min(_MOST_THREADS, cores())) as threads:
        return list(threads.map(read, jobs))


def _transform_digest(transform: Transform) -> str:
    state = blake2b(transform.matrix.astype(np.float64).tobytes(), digest_size=16)
    if transform.displacement_mm is not None:
        state.update(repr(transform.lattice).encode())
        state.update(transform.displacement_mm.tobytes())
    return state.hexdigest()


def _conditions_digests(folder: Path, table: ConditionTable, cases: Sequence[str]) -> list[str]:
    """Digests of the table and of the cases' vectors and tokens, as far as they are there; none where none is declared."""
    if not table.specs:
        return []
    paths = [table.table] if table.table else []
    paths += [f"{spec.folder}/{case}{ENDING}" for spec in table.specs if spec.folder for case in cases]
    new = {"match", "pattern"} if table.match == "exact" else set()  # fingerprints of earlier versions stay valid
    content = (f"{path} {file_digest(folder / path)}" for path in paths if is_file(folder / path))
    return [table.model_dump_json(exclude=new), *content]
