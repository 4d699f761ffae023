"""A raw dataset of ours as one of nnU-Net v2, which its own check accepts; what nnU-Net cannot read is left out and said."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError, hint, listed, raise_faults
from autoseg.base.parallel import Effort, each_case
from autoseg.base.progress import progress_bar
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.case_files import sort_labels
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.manifest import Manifest
from autoseg.datasets.raw import scan_cases
from autoseg.formats import READERS
from autoseg.formats.files import is_file, list_files
from autoseg.interop.export_cases import Exported, ExportTask, export_case
from autoseg.training.splits import USERS_OWN, written_splits
from autoseg.workspace.files import check_writable, write_json
from autoseg.workspace.names import DATASET_JSON, Workspace
from autoseg.workspace.partial import remove_leftovers_below
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

_READ_THERE = (".nii.gz", ".nrrd", ".mha", ".png", ".bmp", ".tif")  # endings that nnU-Net's own readers know
# What nnU-Net calls a channel that is normalised as ours is; other names are z-score there, too.
_CALLED_THERE = {"ct": "CT", "none": "noNorm", "rescale01": "rescale_to_0_1", "rgb": "rgb_to_0_1"}


@dataclass(frozen=True)
class ExportedDataset:
    """The folder that was written, how many cases of training and test it has, and what nnU-Net does not get (`notes`)."""

    folder: Path
    n_training: int
    n_test: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Wanted:
    """What is exported of a dataset: these channels, and labels with these values there."""

    channels: tuple[ChannelSpec, ...]
    numbers: tuple[int, ...]
    labels: LabelSpec
    values: Mapping[int, int]
    ending: str


def export_nnunet(workspace: Workspace, name: str, target: Path, *, channels: Sequence[str] = (), copy: bool = False,
                  workers: int = 1) -> ExportedDataset:
    """Write `target/DatasetNNN_Name` with all channels, or those named, of the cases that have them all.

    Files are linked where nnU-Net can read them as they are, unless they are to be copied. Raises UserError where the folder
    is there already, or no case is left; ManyFaults where the dataset itself is at fault.
    """
    dataset, folder = Dataset.open(workspace.raw(name)), target.expanduser().absolute() / name
    if is_file(folder / DATASET_JSON) or folder.resolve() == dataset.folder.resolve():
        raise UserError("a dataset lies here already", where=folder, do="name another folder with -o, or remove this one")
    check_writable(folder)
    remove_leftovers_below(folder)
    dataset.refuse_regions()
    wanted = _wanted(dataset.manifest, channels)
    transforms = workspace.transforms(name) if any(channel.is_registered for channel in wanted.channels) else None
    kept, left_out = _annotated_in_full(dataset)
    tasks = [_task(files, wanted, folder, "Tr", copy, transforms) for files in kept]
    tasks += [_task(files, wanted, folder, "Ts", copy, None) for files in _test_cases(dataset)]
    with progress_bar("exporting", len(tasks)) as bar:
        results = list(each_case(export_case, tasks, workers, bar.update, effort=Effort("exporting", tried=1),
                                 died=lambda task, why: Exported(task.name, fault=f"case {task.name}: {why}")))
    training = [result for task, result in zip(tasks, results, strict=True) if task.part == "Tr" and not result.fault]
    faults = [result.fault for result in results if result.fault]
    if not training:
        raise_faults(dataset.folder, [*(f"{fault}; --channels names those to export" for fault in faults[:1]), *left_out,
                                      *faults[1:]])
    notes = [*left_out, *faults, *_notes(dataset.manifest, wanted, results, transforms)]
    notes += _write_splits(workspace, name, {result.name for result in training}, folder)
    write_json(folder / DATASET_JSON, _description(dataset.manifest, wanted, len(training)))
    return ExportedDataset(folder, len(training), sum(task.part == "Ts" and not result.fault for task, result in
                                                      zip(tasks, results, strict=True)), tuple(notes))


def _wanted(manifest: Manifest, chosen: Sequence[str]) -> _Wanted:
    names = [channel.name for channel in manifest.channels]
    if unknown := [name for name in chosen if name not in names]:
        raise UserError(f"unknown channel {unknown[0]!r}{hint(unknown[0], names)}", expected=listed(names, len(names)),
                        do="correct --channels")
    numbers = tuple(number for number, name in enumerate(names) if not chosen or name in chosen)
    flat = READERS.get(manifest.file_ending).flat
    ending = manifest.file_ending if manifest.file_ending in _READ_THERE else ".png" if flat else ".nii.gz"
    return _Wanted(tuple(manifest.channels[number] for number in numbers), numbers, manifest.labels,
                   numbered_without_gaps(manifest.labels), ending)


def _task(files: CaseFiles, wanted: _Wanted, folder: Path, part: str, copy: bool, transforms: Path | None) -> ExportTask:
    whole = len(wanted.numbers) == len(files.images)
    return ExportTask(files if whole else files.of_channels(wanted.numbers), wanted.channels, wanted.labels, wanted.values,
                      folder, part, wanted.ending, copy, transforms)


def _annotated_in_full(dataset: Dataset) -> tuple[list[CaseFiles], list[str]]:
    """The cases of which every label was annotated, and a sentence for each other one: nnU-Net would take what was not
    annotated for background.
    """
    annotated, everything = dataset.annotated() or {}, set(dataset.manifest.labels.foreground)
    partial = {name: sorted(everything - set(labels)) for name, labels in annotated.items() if everything - set(labels)}
    return ([files for files in dataset.cases if files.name not in partial],
            [f"case {name}: left out, because {listed(labels)} was not annotated there, and nnU-Net would take it for "
             "background" for name, labels in partial.items()])


def _test_cases(dataset: Dataset) -> list[CaseFiles]:
    """The cases of imagesTs, with labels where labelsTs has them."""
    folder, manifest = dataset.folder, dataset.manifest
    if not list_files(folder / "imagesTs"):
        return []
    cases = scan_cases(folder / "imagesTs", manifest.channels, manifest.file_ending).cases
    labels = sort_labels(folder / "labelsTs", manifest.file_ending, [files.name for files in cases]).slots
    return [replace(files, label=labels.get(files.name, {}).get(0)) for files in cases]


def numbered_without_gaps(labels: LabelSpec) -> dict[int, int]:
    """Label values as nnU-Net wants them: 0, 1, 2, ... in their order, the ignore label last."""
    return {old: new for new, old in enumerate(labels.values)}


def labels_there(labels: LabelSpec, values: Mapping[int, int]) -> dict[str, Any]:
    """The keys of dataset.json that declare labels, with other values."""
    names = {name: [values[value] for value in old] for name, old in labels.names.items()}
    declared: dict[str, Any] = {name: new[0] if len(new) == 1 else new for name, new in names.items()}
    if labels.ignore is not None:
        declared["ignore"] = values[labels.ignore]
    order = None if labels.region_order is None else [values[value] for value in labels.region_order]
    return {"labels": declared} if order is None else {"labels": declared, "regions_class_order": order}


def _description(manifest: Manifest, wanted: _Wanted, n_training: int) -> dict[str, Any]:
    """Our dataset.json in nnU-Net's keys alone."""
    content = {"channel_names": {str(number): _called_there(channel) for number, channel in enumerate(wanted.channels)},
               **labels_there(manifest.labels, wanted.values), "numTraining": n_training, "file_ending": wanted.ending,
               "name": manifest.name, "description": manifest.description, "converted_by": "autoseg_export nnunet"}
    return {key: value for key, value in content.items() if value != ""}


def _called_there(channel: ChannelSpec) -> str:
    return _CALLED_THERE.get(channel.modality, channel.name)


def _notes(manifest: Manifest, wanted: _Wanted, results: Sequence[Exported], transforms: Path | None) -> list[str]:
    """What nnU-Net does not get, or gets otherwise, in sentences."""
    notes = [f"the channel {channel.name!r} is left out" for number, channel in enumerate(manifest.channels)
             if number not in wanted.numbers]
    notes += [f"the channel {channel.name!r} is called {there!r}: nnU-Net chooses its normalisation by this name"
              for channel in wanted.channels if (there := _called_there(channel)) != channel.name]
    changed = {old: new for old, new in wanted.values.items() if old != new}
    notes += [f"label values are numbered without gaps: {', '.join(f'{old} -> {new}' for old, new in changed.items())}"
              ] if changed else []
    new = [result.name for result in results if result.is_new]
    moved = [channel.name for channel in wanted.channels if channel.is_moved]
    on_grid = f", {listed(moved)} on the grid of the labels" if moved else ""
    notes += [f"{len(new)} case{'s were' if len(new) > 1 else ' was'} written anew{on_grid} ({listed(new)})"] if new else []
    notes += [f"{listed(moved)}: voxels outside the field of view are 0; nnU-Net does not know that they are absent"
              ] if any(result.outside for result in results) else []
    if transforms is not None and not list_files(transforms):
        notes.append(f"{listed(moved)}: not registered yet (autoseg_plan_and_preprocess does it), so the world coordinates "
                     "of the files are trusted")
    declared = {"conditions": manifest.conditions.table, "groups": manifest.groups.patient or manifest.groups.site,
                "outcomes": manifest.outcomes, "case_weight": manifest.case_weight_column,
                "modality_column": manifest.modality_columns, "paired_labels": manifest.labels.paired,
                "preprocess": manifest.preprocess.name != "none"}
    lost = [key for key, value in declared.items() if value]
    return notes + ([f"nnU-Net knows nothing of these keys of dataset.json: {', '.join(lost)}"] if lost else [])


def _write_splits(workspace: Workspace, name: str, cases: set[str], folder: Path) -> list[str]:
    """The folds of the dataset, if there are any, without cases that are left out."""
    splits = [{"train": [case for case in split.train if case in cases], "val": [case for case in split.validation
                                                                                if case in cases]}
              for split in written_splits(workspace, name)]
    if not splits:
        return []
    write_json(folder / USERS_OWN, splits)
    return [f"nnU-Net looks for the folds in nnUNet_preprocessed/{name}: copy {USERS_OWN} there before you train"]
