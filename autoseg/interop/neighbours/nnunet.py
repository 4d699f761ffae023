"""Raw datasets of nnU-Net v2. They have our own format: what is wrong with a case leaves it out, and folds come along."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError, listed
from autoseg.clinical.table import ENDINGS
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.case_files import broken_files, sort_labels
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.raw import scan_cases
from autoseg.datasets.unlabelled import is_unlabelled, without_labels
from autoseg.formats import read_header
from autoseg.formats.files import is_file, is_folder, list_entries, list_files
from autoseg.interop.find import FoundCase, SortedFiles
from autoseg.interop.foreign import ForeignDataset, ReadOptions, listed_case, listed_labels, listed_recipe
from autoseg.training.splits import USERS_OWN, users_splits
from autoseg.workspace.files import read_json
from autoseg.workspace.names import DATASET_JSON
from planners.rules.splits import Split
from planners.schema.channels import ChannelSpec

# nnU-Net's own; what another reader does to images, nobody knows.
_READERS = {"SimpleITKIO", "SimpleITKIOWithReorient", "NibabelIO", "NibabelIOWithReorient", "NaturalImage2DIO", "Tiff3DIO"}
_OWN_KEYS = {"dataset", "numTraining", "converted_by", "file_digest"}  # which say other things of the new dataset
_NUMBERED = re.compile(r"(?:dataset|task)[0-9]+_(.+)", re.IGNORECASE)


def read_nnunet_v2(source: Path, options: ReadOptions) -> ForeignDataset:
    """The dataset of a folder `DatasetNNN_Name`. Raises UserError or ManyFaults where its dataset.json cannot be read."""
    refuse_no_description(source, "DatasetNNN_Name")
    described = read_json(source / DATASET_JSON)
    if isinstance(described, dict) and "modality" in described and "channel_names" not in described:
        raise UserError("this is a dataset of nnU-Net v1, or of the Decathlon", where=source / DATASET_JSON,
                        do=f"autoseg_import nnunet_v1 {source}, or msd in place of nnunet_v1")
    dataset = Dataset.open(source)
    has_labels = not is_unlabelled(dataset)
    dataset = dataset if has_labels else without_labels(dataset)
    content, manifest = described, dataset.manifest
    cases, faults = [], list(dataset.scanned.faults)
    for files in dataset.scanned.cases:
        fault = _fault(files, manifest.channels, has_labels=has_labels)
        faults += [fault] if fault and not any(f"case {files.name}:" in known or known in fault for known in faults) else []
        cases += [] if fault else [listed_case(files.name, files.images, files.label)]
    held_out, more = _held_out(source, manifest.channels, manifest.file_ending)
    faults += more
    recipe = listed_recipe(options.name or plain_name(source), [channel.name for channel in manifest.channels],
                           listed_labels(content["labels"]), manifest.file_ending)
    keys = {key: value for key, value in content.items() if key not in _OWN_KEYS}
    splits, warnings = found_splits(source, options.splits)
    warnings += dataset.scanned.warnings
    reader = content.get("overwrite_image_reader_writer")
    if reader is not None and str(reader) not in _READERS:
        warnings.append(f"nnU-Net reads these images by {reader!r}, autoseg by the ending of their files: look at some")
    return ForeignDataset(recipe, SortedFiles((*cases, *held_out), None, tuple(warnings)),
                          keys=_with_present_labels(keys, [case.name for case in cases]), splits=splits,
                          beside=_beside(source, content), faults=tuple(faults), origin="nnunet_v2",
                          is_drafted="conditions" not in content)


def refuse_no_description(source: Path, expected: str) -> None:
    """A UserError where a folder has no dataset.json; it names the datasets that lie below."""
    if is_folder(source) and not is_file(source / DATASET_JSON):
        below = [path.name for path in list_entries(source).folders if is_file(path / DATASET_JSON)]
        raise UserError(f"no {DATASET_JSON} lies here", where=source, found=listed(below) or None,
                        expected=f"the folder {expected} of one dataset",
                        do="name one of these" if below else "see whether the download is whole")


def plain_name(source: Path) -> str:
    """The name of a dataset without the number in its folder's: `Hippocampus` of `Dataset004_Hippocampus`."""
    match = _NUMBERED.fullmatch(source.name)
    return source.name if match is None else match[1]


def found_splits(source: Path, chosen: Path | None) -> tuple[tuple[Split, ...], list[str]]:
    """The folds of the file that was chosen, else of the first that lies where nnU-Net writes it: beside the dataset, or in
    nnUNet_preprocessed; and what should be known of them.
    """
    folders = [source, source.parent.parent / "nnUNet_preprocessed" / source.name]
    if os.environ.get("nnUNet_preprocessed"):
        folders.insert(1, Path(os.environ["nnUNet_preprocessed"]) / source.name)
    paths = [chosen] if chosen else [folder / USERS_OWN for folder in folders if is_file(folder / USERS_OWN)]
    if paths:
        return users_splits(paths[0]), [f"the folds are those of {paths[0]}"]
    pickles = [folder / "splits_final.pkl" for folder in folders if is_file(folder / "splits_final.pkl")]
    return (), [f"{path}: the folds are not taken over, because a pickle may run programs; write them as JSON "
                f'([{{"train": [...], "val": [...]}}]), and give the file with --splits' for path in pickles[:1]]


def held_out_labels(folder: Path, file_ending: str, names: Sequence[str]) -> Mapping[str, Path]:
    """The label of each case to test, as far as there are any."""
    return {name: slots[0] for name, slots in sort_labels(folder, file_ending, names).slots.items()}


def _fault(files: CaseFiles, channels: Sequence[ChannelSpec], *, has_labels: bool) -> str:
    """Why a case cannot be imported, in words; empty where it can."""
    if broken := broken_files((*files.images, files.label)):
        return broken[0]
    if has_labels and files.label is None:
        return f"case {files.name}: the case has no label"
    lacking = [channel.name for channel, path in zip(channels, files.images, strict=False)
               if path is None and channel.required]
    present = [path for path in files.images if path is not None]
    try:
        if lacking and read_header(present[0]).n_channels < len(lacking) + 1:
            return f"case {files.name}: the channel {lacking[0]!r} is missing"
    except UserError as error:
        return f"case {files.name}: {error}"
    return ""


def _held_out(source: Path, channels: Sequence[ChannelSpec], file_ending: str) -> tuple[list[FoundCase], list[str]]:
    """The cases of imagesTs, with labels where labelsTs has them, and what is wrong there."""
    if not list_files(source / "imagesTs"):
        return [], []
    try:
        scanned = scan_cases(source / "imagesTs", channels, file_ending)
    except UserError as error:
        return [], [str(error)]
    labels = held_out_labels(source / "labelsTs", file_ending, [files.name for files in scanned.cases])
    cases, faults = [], list(scanned.faults)
    for files in scanned.cases:
        fault = _fault(files, channels, has_labels=False)
        faults += [fault] if fault else []
        cases += [] if fault else [listed_case(files.name, files.images, labels.get(files.name), held_out=True)]
    return cases, faults


def _with_present_labels(keys: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The keys of dataset.json; what was annotated is said of the cases that are here alone."""
    present = keys.get("labels_present")
    if isinstance(present, dict) and "column" not in present:
        keys["labels_present"] = {name: labels for name, labels in present.items() if name in names}
    return keys


def _beside(source: Path, content: Mapping[str, Any]) -> dict[str, Path]:
    """Tables of the folder, and the vectors and tokens that dataset.json declares, by their places in it."""
    paths = [*list_files(source), *list_files(source / "imagesTs")]
    files = {path.relative_to(source).as_posix(): path for path in paths
             if path.suffix.lower() in ENDINGS and path.suffix != ".txt"}
    conditions = content.get("conditions")
    if isinstance(conditions, dict):
        folders = [folder for kind in ("vectors", "tokens") for folder in (conditions.get(kind) or {}).values()]
        files |= {f"{folder}/{path.name}": path for folder in folders for path in list_files(source / folder)}
    return files
