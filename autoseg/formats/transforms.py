"""What registration found for each case, on the disk.

    CASE.json                        transforms, stages and metrics of its channels, and their sources; written last
    CASE_CCCC.displacement.npy       the lattice of a deformable one: (3, D, H, W), mm
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.files import digest
from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Registered, Stage, Transform
from autoseg.workspace.files import read_model, remove_file, write_atomically, write_json
from autoseg.workspace.paths import below
from planners.schema.base import Frozen, versioned
from planners.schema.channels import Registration

Row = tuple[float, float, float, float]


class ChannelRecord(Frozen):
    """One channel: what was asked for, which stage was kept, and the map of the reference's world points to its own.

    `stages`, `likeness` and `reason` are those of `Registered`. `lattice` is the grid of its displacements, if it has any,
    and `lattice_digest` the digest of their file.
    """

    channel: str
    asked: Registration
    kept: str
    matrix: tuple[Row, Row, Row]
    lattice: Geometry | None = None
    lattice_digest: str = ""
    stages: tuple[Stage, ...] = ()
    likeness: float | None = None
    reason: str = ""


class CaseRecord(Frozen):
    """One case: its registered channels by number, and the digest of the files and settings that they were made from."""

    schema_version: int = versioned(1)
    case: str
    made_of: str
    channels: dict[int, ChannelRecord]


def write_transforms(folder: Path, case: str, registered: Mapping[int, Registered], names: Mapping[int, str], made_of: str
                     ) -> None:
    """Write the registered channels of a case, each file atomically. `made_of` is a digest of the inputs; `names` are those
    of all channels.
    """
    digests = {number: _write_lattice(_lattice(folder, case, number),
                                      registered[number].transform if number in registered else None) for number in names}
    channels = {number: ChannelRecord(channel=names[number], asked=result.asked, kept=result.kept,
                                      matrix=tuple(map(tuple, result.transform.matrix.tolist())),
                                      lattice=result.transform.lattice, lattice_digest=digests[number],
                                      stages=result.stages, likeness=result.likeness, reason=result.reason)
                for number, result in registered.items()}
    write_json(_json(folder, case), CaseRecord(case=case, made_of=made_of, channels=channels))


def is_current(folder: Path, case: str, made_of: str) -> bool:
    """Whether what was written of a case was made of these inputs and is undamaged."""
    try:
        record = read_record(folder, case)
        read_transforms(folder, case)
    except UserError:
        return False
    return record is not None and record.made_of == made_of


def read_record(folder: Path, case: str) -> CaseRecord | None:
    """What was written of a case, or None."""
    path = _json(folder, case)
    return read_model(path, CaseRecord) if path.is_file() else None


def read_transforms(folder: Path, case: str) -> dict[int, Transform]:
    """The transform of each registered channel; empty where nothing was written. A damaged file is a UserError."""
    record = read_record(folder, case)
    return {} if record is None else {number: _transform(folder, case, number, channel)
                                      for number, channel in record.channels.items()}


def forget(folder: Path, case: str) -> None:
    """Remove what was written of a case, so that what is out of date does not outlive a failure."""
    remove_file(_json(folder, case))


def _transform(folder: Path, case: str, number: int, record: ChannelRecord) -> Transform:
    path = _json(folder, case)
    try:
        if record.lattice is None:
            return Transform(np.array(record.matrix))
        path = _lattice(folder, case, number)
        if record.lattice_digest and digest(path) != record.lattice_digest:
            raise ValueError("a file that does not match its digest")
        return Transform(np.array(record.matrix), np.load(path, allow_pickle=False), record.lattice)
    except (OSError, ValueError, EOFError) as error:
        what = "matrix" if record.lattice is None else "displacements"
        raise UserError(f"the {what} of a registered channel cannot be read", where=path, found=error,
                        do=f"remove {_json(folder, case)}, so that the case is registered again") from None


def _write_lattice(path: Path, transform: Transform | None) -> str:
    """The digest of the displacements that were written; nothing where there are none, nor a file of earlier ones then."""
    displacement_mm = None if transform is None else transform.displacement_mm
    if displacement_mm is None:
        remove_file(path)
        return ""
    write_atomically(path, lambda temporary: np.save(temporary, displacement_mm))
    return digest(path)


def _json(folder: Path, case: str) -> Path:
    return below(folder, f"{case}.json")


def _lattice(folder: Path, case: str, number: int) -> Path:
    return below(folder, f"{case}_{number:04}.displacement.npy")
