"""What a raw dataset says of itself: `dataset.json` of nnU-Net v2, with optional keys of ours, as a typed value."""

import json
import logging
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from autoseg.base.errors import ManyFaults, UserError
from autoseg.data.declarations import Document, hint, read_channels, read_labels, shown
from autoseg.data.jsontext import parse
from autoseg.data.readers import READERS
from autoseg.data.readers.files import is_file, is_folder, read_text
from planners.base import Frozen
from planners.fingerprint import ChannelSpec, ConditionSpec, ConditionTable, LabelSpec, Registration

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1
FILE_NAME = "dataset.json"

_MEANINGFUL = {"channel_names", "labels", "regions_class_order", "file_ending", "numTraining", "dataset", "name",
               "description", "optional_channels", "reference_channel", "registration", "conditions", "groups",
               "paired_labels"}
# Written by nnU-Net, its converters and the Decathlon; they change nothing here. The reader follows from the ending.
_INFORMATIVE = {"reference", "licence", "license", "release", "citation", "dataset_name", "dataset_description",
                "converted_by", "tensorImageSize", "overwrite_image_reader_writer", "numTest", "training", "test",
                "validation", "modality", "version", "image_reader_writer", "authors", "relase", "labelsTr", "imagesTr",
                "imagesTs", "labelsTs", "nnunetv2_version"}


class Groups(Frozen):
    """Columns of the table that say which cases belong together; empty: not said."""

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
    n_training: int | None = None  # as declared; `integrity.verify` counts what is there
    reference_channel: str = ""  # the channel whose grid the others are brought to; empty: the first that a case has
    registration: dict[str, Registration] = Field(default_factory=dict)  # of a channel to the reference
    conditions: ConditionTable = ConditionTable()
    groups: Groups = Groups()
    cases: tuple[ListedCase, ...] | None = None  # None: the files of imagesTr and labelsTr


class _Column(Frozen):
    kind: Literal["number", "category", "ordinal"]
    transform: Literal["none", "log"] = "none"
    order: tuple[str, ...] = ()
    available_at: str = "baseline"

    @model_validator(mode="after")
    def _check(self) -> "_Column":
        if (self.kind == "ordinal") != bool(self.order):
            raise ValueError("an ordinal column, and no other, lists its values under 'order'")
        if self.transform != "none" and self.kind != "number":
            raise ValueError("only a number can be transformed")
        return self


class _Conditions(Frozen):
    table: str = ""
    id: str = "case"
    columns: dict[str, _Column] = Field(default_factory=dict)
    vectors: dict[str, str] = Field(default_factory=dict)
    tokens: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> "_Conditions":
        if self.columns and not self.table:
            raise ValueError("'columns' need the file that holds them, under 'table'")
        names = [*self.columns, *self.vectors, *self.tokens]
        if len(set(names)) < len(names):
            raise ValueError("columns, vectors and tokens share a name")
        return self


class _Listed(Frozen):
    images: Annotated[tuple[str | None, ...], Field(min_length=1)]
    label: str


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a raw dataset: of its folder, or of a `dataset.json` that bears any name.

    Raises UserError, or ManyFaults with every fault of the file, each with its line and column. Unknown keys that
    resemble none of ours are only warned of.
    """
    path = folder if is_file(folder) else folder / FILE_NAME
    if not is_folder(path.parent):
        raise UserError("the dataset's folder is missing", where=folder)
    manifest, faults = parse_manifest(read_text(path), path)
    if len(faults) == 1:
        raise UserError(faults[0])
    if manifest is None:
        raise ManyFaults(path, faults)
    return manifest


def parse_manifest(text: str, path: Path) -> tuple[Manifest | None, list[str]]:
    """The manifest of a text that was read from `path`, or None and its faults."""
    try:
        document = Document(parse(text), path)
    except json.JSONDecodeError as error:
        return None, [str(UserError("the file is not valid JSON", found=error.msg, do="correct that line",
                                    where=f"{path}, line {error.lineno}, column {error.colno}"))]
    if not isinstance(document.json.data, dict):
        document.fault((), "the file is not a JSON object", found=type(document.json.data).__name__, expected="{...}")
        return None, document.faults
    _check_keys(document)
    channels, labels = read_channels(document), read_labels(document)
    parts = {"name": document.text("name"), "description": document.text("description"),
             "file_ending": _file_ending(document), "n_training": _n_training(document),
             "reference_channel": _reference_channel(document, channels),
             "registration": _registration(document, channels), "conditions": _conditions(document),
             "groups": _groups(document), "cases": _listed_cases(document)}
    if document.faults:
        return None, document.faults
    return Manifest(channels=channels, labels=labels, **parts), []


def _check_keys(document: Document) -> None:
    for place, offset in document.json.repeated:
        document.faults.append(str(UserError(f"the key {place[-1]!r} is given twice", do="remove one of them",
                                             where=f"{document.file}, {document.json.at(offset)}")))
    for key in document.json.data:
        if key in _MEANINGFUL | _INFORMATIVE:
            continue
        meant = hint(key, _MEANINGFUL)
        if meant:
            document.fault((key,), f"unknown key {key!r}{meant}", at_key=True, do="correct or remove it")
        else:
            logger.warning("%s, %s: the key %r is not known and has no effect", document.file,
                           document.json.key((key,)), key)


def _file_ending(document: Document) -> str:
    if "file_ending" not in document:
        close = hint("file_ending", document.json.data, near=0.6)
        document.fault((), f"the key 'file_ending' is missing{close}", expected='such as "file_ending": ".nii.gz"')
        return ""
    ending = document.text("file_ending")
    if ending.lower() not in READERS.names():
        document.fault(("file_ending",), f"the file ending is not known{hint(ending, READERS.names(), near=0.6)}",
                       found=shown(ending), expected=", ".join(READERS.names()))
    return ending


def _n_training(document: Document) -> int | None:
    count = document.get("numTraining")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        document.fault(("numTraining",), "'numTraining' is not a number of cases", found=shown(count))
        return None
    return count


def _reference_channel(document: Document, channels: tuple[ChannelSpec, ...]) -> str:
    name = document.text("reference_channel")
    known = [channel.name for channel in channels]
    if name and known and name not in known:
        document.fault(("reference_channel",), f"unknown channel {name!r}{hint(name, known)}",
                       expected=", ".join(known))
    return name


def _registration(document: Document, channels: tuple[ChannelSpec, ...]) -> dict[str, Registration]:
    kinds = _typed(document, "registration", TypeAdapter(dict[str, Registration]), {})
    known = [channel.name for channel in channels]
    for name in kinds if known else ():
        if name not in known:
            document.fault(("registration", name), f"unknown channel {name!r}{hint(name, known)}", at_key=True,
                           expected=", ".join(known))
        elif name == document.get("reference_channel", known[0]):
            document.fault(("registration", name), "the reference channel cannot be registered to itself", at_key=True)
    return kinds


def _conditions(document: Document) -> ConditionTable:
    given: _Conditions = _typed(document, "conditions", TypeAdapter(_Conditions), _Conditions())
    specs = [ConditionSpec(name=name, **column.model_dump()) for name, column in given.columns.items()]
    specs += [ConditionSpec(name=name, kind="vector", folder=folder) for name, folder in given.vectors.items()]
    specs += [ConditionSpec(name=name, kind="tokens", folder=folder) for name, folder in given.tokens.items()]
    return ConditionTable(table=given.table, id=given.id, specs=tuple(specs))


def _groups(document: Document) -> Groups:
    groups: Groups = _typed(document, "groups", TypeAdapter(Groups), Groups())
    conditions = document.get("conditions")
    if groups != Groups() and not (isinstance(conditions, dict) and conditions.get("table")):
        document.fault(("groups",), "'groups' names columns, but there is no table", at_key=True,
                       do="name the file under conditions: table")
    return groups


def _listed_cases(document: Document) -> tuple[ListedCase, ...] | None:
    """Cases of the key `dataset`; environment variables in their paths are filled in, as nnU-Net does."""
    if "dataset" not in document:
        return None
    listed: dict[str, _Listed] = _typed(document, "dataset", TypeAdapter(dict[str, _Listed]), {})
    return tuple(ListedCase(name=name, label=os.path.expandvars(case.label),
                            images=tuple(path and os.path.expandvars(path) for path in case.images))
                 for name, case in sorted(listed.items()))


def _typed(document: Document, key: str, kind: TypeAdapter, default):
    """The value under a key as a type; each of pydantic's complaints becomes a fault with its place."""
    if key not in document:
        return default
    try:
        return kind.validate_python(document.get(key))
    except ValidationError as error:
        for complaint in error.errors():
            unknown = complaint["type"] == "extra_forbidden"
            place = (key, *complaint["loc"])
            what = f"unknown key {place[-1]!r}" if unknown else complaint["msg"].removeprefix("Value error, ")
            document.fault(place, what, at_key=unknown, found=None if unknown else shown(complaint["input"]))
        return default
