"""The raw dataset that takes corrections: made at first use as a model's plan describes it, and what lies in it.

Cases that were collected have names of ours, `corrected_` and digits that follow from the voxels of their images: the same
images are the same case, and no name from outside names a file. `corrections.jsonl` says who gave what, and when.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

from autoseg.base.errors import UserError, listed
from autoseg.datasets.case_files import channel_of, stem_of
from autoseg.datasets.dataset import Dataset
from autoseg.formats.files import is_file, list_files
from autoseg.interop.tables import ID, NAME
from autoseg.workspace.files import append_record, read_records, remove_file, write_json
from autoseg.workspace.names import DATASET_JSON, Workspace
from autoseg.workspace.paths import below
from planners.schema.base import Frozen
from planners.schema.plan import Plan

PREFIX = "corrected_"
LOG = "corrections.jsonl"
UNLABELLED = "imagesTs"  # images that wait for a label: prediction and verification know this folder
FORMER = "formerLabels"  # labels that a later correction replaced
_FULL_NAME = re.compile(r"Dataset(\d{3,})_.+")
_HIGHEST_NUMBER = 999


class Given(Frozen):
    """A line of the log: images, or a label for them, that somebody gave. `alias` is a digest of the name that the client
    has for the images, `former` the file of the label that was replaced, relative to the dataset.
    """

    kind: Literal["image", "label"]
    case: str
    who: str
    time: str  # ISO 8601, UTC
    model: str = ""
    identity: str = ""  # of the model's weights
    comment: str = ""
    alias: str = ""
    former: str = ""


@dataclass(frozen=True)
class CollectedCase:
    """A case: its images by the number of the channel, its label if it has one, and what the log says of it."""

    name: str
    images: dict[int, Path]
    label: Path | None
    given: tuple[Given, ...] = ()


def collecting_folder(workspace: Workspace, key: str) -> Path:
    """The folder of the raw dataset that `key` names: a number, a name, or `DatasetNNN_Name`. A name that is new gets the
    first number that is free. Nothing is made. Raises UserError for a number without dataset, or one that is taken.
    """
    known, full = workspace.numbered(), _FULL_NAME.fullmatch(key)
    if key.isdecimal() or key in {name.partition("_")[2] for name in known.values()}:
        name = workspace.dataset(key)
    elif full is None:
        free = next(number for number in range(1, _HIGHEST_NUMBER + 2) if number not in known)
        name = f"Dataset{free:03d}_{key}"
    else:
        name = key
        taken = known.get(int(full[1]), name)
        if taken != name:
            raise UserError("this number is taken", where=workspace.home / "raw", found=taken,
                            do=f"choose another number for {key!r}")
    return workspace.raw(name) if workspace.has_raw(name) else below(workspace.home / "raw", name)


def open_collected(folder: Path) -> Dataset | None:
    """The dataset; None before its first use."""
    return Dataset.open(folder) if is_file(folder / DATASET_JSON) else None


def make_dataset(folder: Path, plan: Plan) -> Dataset:
    """Write `dataset.json` with the channels, labels and table of a plan. It counts no cases: they come one by one."""
    labels: dict[str, Any] = {name: values[0] if len(values) == 1 else list(values)
                              for name, values in plan.labels.names.items()}
    if plan.labels.ignore is not None:
        labels["ignore"] = plan.labels.ignore
    preprocess = next(iter(plan.configurations.values())).preprocess
    columns = {spec.name: {"kind": spec.kind, "transform": spec.transform, "order": list(spec.order)}
               for spec in plan.conditions.specs if spec.kind in ("number", "category", "ordinal")}
    has_table = bool(columns or plan.modality_columns)
    content: dict[str, Any] = {
        "name": folder.name.partition("_")[2], "description": f"corrections of masks that models of {plan.dataset} made",
        "channel_names": {str(number): channel.name for number, channel in enumerate(plan.channels)},
        "labels": labels, "file_ending": ".nii.gz"}
    optional: dict[str, Any] = {
        "optional_channels": [channel.name for channel in plan.channels if not channel.required],
        "reference_channel": next((channel.name for channel in plan.channels if channel.reference), ""),
        "registration": {channel.name: channel.registration for channel in plan.channels if channel.is_moved},
        "regions_class_order": list(plan.labels.region_order or ()), "paired_labels": [list(p) for p in plan.labels.paired],
        "conditions": {"table": NAME, "id": ID, "columns": columns} if has_table else {},
        "modality_column": dict(plan.modality_columns),
        "preprocess": preprocess.model_dump() if preprocess.name != "none" else {}}
    write_json(folder / DATASET_JSON, content | {key: value for key, value in optional.items() if value})
    return Dataset.open(folder)


def check_fits(dataset: Dataset, plan: Plan) -> None:
    """A UserError where cases of the model are no cases of the dataset."""
    manifest = dataset.manifest
    mine, theirs = [c.name for c in manifest.channels], [c.name for c in plan.channels]
    lacking = [channel.name for channel in manifest.channels if channel.required and channel.name not in theirs]
    if lacking or not set(theirs) <= set(mine):
        raise UserError("the dataset that takes corrections has other channels than the model", where=dataset.file,
                        found=listed(mine, len(mine)), expected=listed(theirs, len(theirs)),
                        do="start the service with --collect and another dataset for this model")
    if not manifest.labels.means_the_same_as(plan.labels):
        raise UserError("the dataset that takes corrections has other labels than the model", where=dataset.file,
                        found=listed(manifest.labels.names, 20), expected=listed(plan.labels.names, 20),
                        do="start the service with --collect and another dataset for this model")
    if manifest.cases is not None:
        raise UserError("the dataset lists its cases in dataset.json, and takes no corrections", where=dataset.file,
                        do="start the service with --collect and a dataset of its own")


def alias_of(name: str) -> str:
    """What stands in the log for a name that a client gave: it may be a patient's."""
    return blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest() if name else ""


def write_given(folder: Path, given: Given) -> None:
    append_record(folder / LOG, given.model_dump(mode="json"))


def read_given(folder: Path) -> list[Given]:
    return [Given.model_validate(record) for record in read_records(folder / LOG)]


def collected_cases(folder: Path) -> dict[str, CollectedCase]:
    """All cases, with a label or without one, in the order of their names. A case of the training set hides the same images
    that wait for a label.
    """
    log = read_given(folder)
    labels = {stem_of(path): path for path in list_files(folder / "labelsTr")}
    cases: dict[str, CollectedCase] = {}
    for part in (UNLABELLED, "imagesTr"):
        images: dict[str, dict[int, Path]] = {}
        for name, number, path in _images(folder / part):
            images.setdefault(name, {})[number] = path
        cases |= {name: CollectedCase(name, files, labels.get(name) if part == "imagesTr" else None,
                                      tuple(given for given in log if given.case == name))
                  for name, files in images.items()}
    return dict(sorted(cases.items()))


def find_case(folder: Path, name: str) -> CollectedCase | None:
    """The case that bears this name here, or whose images a client gave under this name last."""
    cases = collected_cases(folder)
    if name in cases:
        return cases[name]
    alias = alias_of(name)
    known = [given.case for given in read_given(folder) if given.alias == alias and given.case in cases]
    return cases[known[-1]] if known else None


def remove_halves(folder: Path) -> None:
    """Remove images of collected cases that have no label: of a process that was killed before it came to the label."""
    labels = {stem_of(path) for path in list_files(folder / "labelsTr")}
    for name, _, path in _images(folder / "imagesTr"):
        if name.startswith(PREFIX) and name not in labels:
            remove_file(path)


def _images(folder: Path) -> Iterator[tuple[str, int, Path]]:
    for path in list_files(folder):
        slot = channel_of(stem_of(path))
        if slot is not None:
            yield (*slot, path)
