"""From names to paths. Names come from files that others made: one that is a path would lead to a file of somebody else."""

from pathlib import Path

from autoseg.base.errors import UserError
from planners.schema.names import MOST_BYTES, fault_of_name


def below(folder: Path, *names: str) -> Path:
    """`folder / name / ...`; a UserError where a name is not one name of a file, but a path, or cannot be a file's name."""
    for name in names:
        fault = fault_of_name(name, MOST_BYTES)
        if fault:
            raise UserError("this cannot be the name of a file", where=folder, found=f"{name[:80]!r}, {fault}",
                            do="correct the name where it is given: in the files' names, dataset.json or the plan")
        folder = folder / name
    return folder
