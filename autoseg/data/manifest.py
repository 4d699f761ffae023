"""What a raw dataset says of itself: `dataset.json` of nnU-Net v2, with optional keys of ours, as a typed value."""

from pathlib import Path
from typing import Literal

from autoseg.base.errors import ManyFaults, UserError
from autoseg.data.readers.files import read_text
from planners.base import Frozen
from planners.fingerprint import ChannelSpec, ConditionSpec, LabelSpec

SCHEMA_VERSION = 1
FILE_NAME = "dataset.json"

RegistrationKind = Literal["none", "rigid", "affine", "deformable"]


class ConditionTable(Frozen):
    """Inputs beside the images: a table with one row a case (`id` is the column of the case's name) and files a case."""

    table: str = ""  # relative to the dataset's folder; empty: none
    id: str = "case"
    specs: tuple[ConditionSpec, ...] = ()


class Groups(Frozen):
    """Columns of the table that say which cases belong together; empty: none."""

    patient: str = ""
    site: str = ""


class ListedCase(Frozen):
    """A case whose files dataset.json names, relative to the dataset's folder or absolute; None: a missing channel."""

    name: str
    images: tuple[str | None, ...]
    label: str


class Manifest(Frozen):
    """A raw dataset: its inputs, its labels and how its files are named."""

    schema_version: int = SCHEMA_VERSION
    name: str = ""
    description: str = ""
    channels: tuple[ChannelSpec, ...]
    labels: LabelSpec
    file_ending: str
    n_training: int | None = None  # as declared; what is there is counted by `integrity.verify`
    reference_channel: int = 0  # the channel whose grid the others are brought to
    registration: dict[str, RegistrationKind] = {}  # channel name -> how it is aligned to the reference
    conditions: ConditionTable | None = None
    groups: Groups = Groups()
    cases: tuple[ListedCase, ...] | None = None  # None: the files of imagesTr and labelsTr


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a raw dataset.

    Raises UserError, or ManyFaults with every fault of the file, each with its line and column.
    """
    from autoseg.data.dataset_json import parse_manifest  # which builds what this module defines

    path = folder / FILE_NAME
    if not folder.is_dir():
        raise UserError("the dataset's folder is missing", where=folder)
    manifest, faults = parse_manifest(read_text(path), path)
    if manifest is None and len(faults) == 1:
        raise UserError(faults[0])
    if manifest is None:
        raise ManyFaults(path, faults)
    return manifest
