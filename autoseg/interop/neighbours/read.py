"""The layouts that are read, by the words of the command, and the flags that each understands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.formats.files import is_file, is_folder
from autoseg.interop.foreign import ForeignDataset, ReadOptions
from autoseg.interop.neighbours.bids import read_bids
from autoseg.interop.neighbours.csv_table import read_csv_table
from autoseg.interop.neighbours.datalist import read_monai_datalist
from autoseg.interop.neighbours.decathlon import read_msd, read_nnunet_v1
from autoseg.interop.neighbours.nnunet import read_nnunet_v2


@dataclass(frozen=True)
class Layout:
    """How a layout is read: of a folder, or of one file."""

    read: Callable[[Path, ReadOptions], ForeignDataset]
    is_of_file: bool = False


LAYOUTS: Mapping[str, Layout] = {
    "msd": Layout(read_msd), "nnunet_v1": Layout(read_nnunet_v1), "nnunet_v2": Layout(read_nnunet_v2),
    "bids": Layout(read_bids),
    "monai_datalist": Layout(read_monai_datalist, is_of_file=True), "csv": Layout(read_csv_table, is_of_file=True)}


def read_foreign(kind: str, source: Path, options: ReadOptions) -> ForeignDataset:
    """The dataset at `source`, in one of `LAYOUTS`; nothing is written. Raises UserError or ManyFaults if there is none."""
    layout = LAYOUTS[kind]
    source = source.expanduser().absolute()
    is_there = is_file(source) if layout.is_of_file else is_folder(source)
    if not is_there:
        other = is_folder(source) if layout.is_of_file else is_file(source)
        expected, opposite = ("a file", "a folder") if layout.is_of_file else ("a folder", "a file")
        raise UserError(f"{expected} is needed" if other else f"the {expected.removeprefix('a ')} is missing", where=source,
                        found=opposite if other else None)
    return layout.read(source, options)
