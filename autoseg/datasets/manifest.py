"""What a raw dataset says of itself: `dataset.json` of nnU-Net v2, with optional keys of ours, as a typed value."""

import json
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter

from autoseg.base.errors import UserError, hint, raise_faults
from autoseg.clinical.outcomes import OutcomeSpec
from autoseg.datasets.declarations import Document, read_channels, read_labels, shown
from autoseg.datasets.declared_inputs import (
    Groups,
    read_case_weight,
    read_condition_table,
    read_groups,
    read_labels_present,
    read_modality_columns,
    read_outcome_specs,
)
from autoseg.datasets.declared_preprocess import read_preprocess
from autoseg.datasets.declared_regions import read_region_faults
from autoseg.datasets.jsontext import parse
from autoseg.formats import READERS
from planners.schema.base import Frozen, Part, versioned
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionTable
from planners.schema.labels import LabelSpec
from planners.schema.names import Name

logger = logging.getLogger(__name__)

SCHEMA_VERSION = 1

_MEANINGFUL = {"channel_names", "labels", "regions_class_order", "file_ending", "numTraining", "dataset", "name",
               "description", "optional_channels", "reference_channel", "registration", "conditions", "groups",
               "paired_labels", "labels_present", "case_weight", "preprocess", "modality_column", "outcomes"}
# Written by nnU-Net, its converters and the Decathlon; they change nothing here. The reader follows from the ending.
_INFORMATIVE = {"reference", "licence", "license", "release", "citation", "dataset_name", "dataset_description",
                "converted_by", "tensorImageSize", "overwrite_image_reader_writer", "numTest", "training", "test",
                "validation", "modality", "version", "image_reader_writer", "authors", "relase", "labelsTr", "imagesTr",
                "imagesTs", "labelsTs", "nnunetv2_version"}


class ListedCase(Frozen):
    """A case whose files dataset.json names, relative to the dataset's folder or absolute; None: a missing channel."""

    name: Name
    images: tuple[str | None, ...]
    label: str


class Manifest(Frozen):
    """A raw dataset: its inputs, its labels and how its files are named."""

    schema_version: int = versioned(SCHEMA_VERSION)
    name: str = ""
    description: str = ""
    channels: tuple[ChannelSpec, ...]
    labels: LabelSpec
    file_ending: str
    n_training: int | None = None  # as declared; `integrity.verify` counts what is there
    conditions: ConditionTable = ConditionTable()
    groups: Groups = Groups()
    labels_present: dict[str, tuple[str, ...]] | None = None  # foreground names annotated, of cases that lack some
    labels_present_column: str = ""  # of the table; `declared_columns.annotated_names` reads it. Neither: all are annotated
    case_weight_column: str = ""  # of the table; `declared_columns.case_weights` reads it. None: all weigh the same
    preprocess: Part = Part(name="none")  # what changes all channels of a case together
    modality_columns: dict[str, str] = Field(default_factory=dict)  # channel of several -> the column that says which
    outcomes: dict[str, OutcomeSpec] = Field(default_factory=dict)  # of the table; never inputs
    cases: tuple[ListedCase, ...] | None = None  # None: the files of imagesTr and labelsTr


class _Listed(Frozen):
    images: Annotated[tuple[str | None, ...], Field(min_length=1)]
    label: str


@dataclass(frozen=True)
class ParsedManifest:
    """What a `dataset.json` declares. `outcomes` has a sentence for each condition that looks like an outcome,
    `region_faults` one for each reason why regions cannot be written, with line and column: the caller decides whether it
    refuses them.
    """

    manifest: Manifest
    outcomes: tuple[str, ...] = ()
    region_faults: tuple[str, ...] = ()


def parse_manifest(text: str, path: Path) -> ParsedManifest:
    """The manifest of a text that was read from `path`.

    Raises UserError, or ManyFaults with every fault of the file, each with its line and column. Unknown keys that
    resemble none of ours are only warned of.
    """
    try:
        document = Document(parse(text), path)
    except json.JSONDecodeError as error:
        raise UserError("the file is not valid JSON", found=error.msg, do="correct that line",
                        where=f"{path}, line {error.lineno}, column {error.colno}") from None
    if not isinstance(document.json.data, dict):
        document.fault((), "the file is not a JSON object", found=type(document.json.data).__name__, expected="{...}")
        raise UserError(document.faults[0])
    _check_keys(document)
    channels, labels = read_channels(document), read_labels(document)
    annotated, column = read_labels_present(document, labels)
    name, description = document.text("name"), document.text("description")
    ending, n_training = _file_ending(document), _n_training(document)
    conditions, outcomes = read_condition_table(document)
    outcome_specs = read_outcome_specs(document, conditions)
    groups, weight, cases = read_groups(document), read_case_weight(document), _listed_cases(document)
    modality_columns = read_modality_columns(document, [channel.name for channel in channels])
    preprocess = read_preprocess(document, channels)
    raise_faults(path, document.faults)
    assert labels is not None  # a fault otherwise
    return ParsedManifest(Manifest(
        name=name, description=description, channels=channels, labels=labels, file_ending=ending, n_training=n_training,
        conditions=conditions, groups=groups, labels_present=annotated, labels_present_column=column,
        case_weight_column=weight, preprocess=preprocess, modality_columns=modality_columns, outcomes=outcome_specs,
        cases=cases), outcomes,
        read_region_faults(document, labels))


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
    return ending.lower()


def _n_training(document: Document) -> int | None:
    count = document.get("numTraining")
    if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 0):
        document.fault(("numTraining",), "'numTraining' is not a number of cases", found=shown(count))
        return None
    return count


def _listed_cases(document: Document) -> tuple[ListedCase, ...] | None:
    """Cases of the key `dataset`; environment variables in their paths are filled in, as nnU-Net does."""
    if "dataset" not in document:
        return None
    listed: dict[str, _Listed] = document.typed("dataset", TypeAdapter(dict[Name, _Listed]), {})
    return tuple(ListedCase(name=name, label=os.path.expandvars(case.label),
                            images=tuple(path and os.path.expandvars(path) for path in case.images))
                 for name, case in sorted(listed.items()))
