"""Import a dataset of others: find its files, by a recipe or as another program lists them, convert, write `dataset.json`
last."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError, listed, raise_faults
from autoseg.base.parallel import Effort, each_case
from autoseg.base.progress import progress_bar
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.unlabelled import without_labels
from autoseg.formats.files import checksum, is_file
from autoseg.interop.convert import Task, import_case
from autoseg.interop.draft import add_draft
from autoseg.interop.find import FoundCase, find_cases
from autoseg.interop.foreign import ForeignDataset
from autoseg.interop.recipe import Recipe, RecipeTable
from autoseg.interop.tables import ID, NAME, Rows, as_csv, rows_of
from autoseg.training.splits import USERS_OWN
from autoseg.workspace.files import check_writable, write_json, write_text
from autoseg.workspace.links import place
from autoseg.workspace.names import DATASET_JSON, Workspace
from autoseg.workspace.partial import remove_leftovers_below
from autoseg.workspace.paths import below
from planners.rules.splits import Split

logger = logging.getLogger(__name__)

_HIGHEST_NUMBER = 999


@dataclass(frozen=True)
class Imported:
    """A dataset that was imported: its name, the number of its cases, and what should be known; `faults` are of cases that
    could not be read. Without labels (`images_alone`) it is for pre-training and prediction.
    """

    dataset: str
    folder: Path
    n_training: int
    n_held_out: int
    images_alone: bool
    warnings: tuple[str, ...]
    faults: tuple[str, ...]


def import_dataset(recipe: Recipe, source: Path, workspace: Workspace, *, number: int | None = None, copy: bool = False,
                   workers: int = 1) -> Imported:
    """Make a raw dataset `DatasetNNN_<recipe>` of what was downloaded, as `import_foreign`. Raises UserError where the
    folder does not hold what the recipe expects, too.
    """
    source = source.expanduser().absolute()
    files = find_cases(recipe, source)
    rows = {} if recipe.table is None else rows_of(recipe.table, files.cases, files.table)  # its faults before hours of work
    foreign = ForeignDataset(recipe, files, rows, origin=f"recipe {recipe.name}")
    return import_foreign(foreign, source, workspace, number=number, copy=copy, workers=workers)


def import_foreign(foreign: ForeignDataset, source: Path, workspace: Workspace, *, number: int | None = None,
                   copy: bool = False, workers: int = 1) -> Imported:
    """Make a raw dataset of one that was read at `source`; files are linked unless they are to be copied.

    `dataset.json` is written last: the same command starts an import again that was stopped. Raises UserError where the
    number is taken. A case that cannot be read is left out, with its fault in the result.
    """
    recipe, files = foreign.recipe, foreign.files
    name = _dataset_name(recipe, workspace, number)
    folder = workspace.home / "raw" / name
    check_writable(folder)
    remove_leftovers_below(folder)
    tasks = [Task(recipe, case, folder, copy) for case in files.cases]
    with progress_bar("importing", len(tasks)) as bar:
        faults = list(each_case(import_case, tasks, workers, bar.update, effort=Effort("importing", tried=1),
                                died=lambda task, why: f"case {task.name}: {why}"))
    whole = [case for case, fault in zip(files.cases, faults, strict=True) if not fault]
    faults = [*foreign.faults, *filter(None, faults)]
    if not whole:
        raise_faults(source, faults)
    images_alone = not any(case.labels for case in whole)
    training = [case for case in whole if not case.held_out]
    for target, path in foreign.beside.items():
        place(path, below(folder, *Path(target).parts), copy=copy)
    warnings = [*files.warnings, *_other_counts(recipe, training, [case for case in whole if case.held_out]),
                *_other_archives(recipe, source), *_write_splits(foreign, training, folder),
                *_write_descriptions(foreign, whole, folder)]
    if images_alone:
        dataset = without_labels(Dataset.open(folder))
        warnings += dataset.scanned.warnings
        raise_faults(folder, dataset.scanned.faults)
    elif foreign.is_drafted:
        warnings += add_draft(folder)
    return Imported(name, folder, len(training), len(whole) - len(training), images_alone, tuple(warnings), tuple(faults))


def _write_splits(foreign: ForeignDataset, training: Sequence[FoundCase], folder: Path) -> list[str]:
    """The folds of the cases that are here; a sentence where others are left out of them."""
    if not foreign.splits:
        return []
    names = {case.name for case in training}
    kept = [Split(train=tuple(case for case in split.train if case in names),
                  validation=tuple(case for case in split.validation if case in names)) for split in foreign.splits]
    gone = sorted({case for split in foreign.splits for case in (*split.train, *split.validation)} - names)
    if gone and not all(split.train for split in kept):
        return ["the folds are not taken over: without the cases that are not here, one has no training case "
                f"({listed(gone)}); new folds are made"]
    write_json(folder / USERS_OWN, [{"train": list(split.train), "val": list(split.validation)} for split in kept])
    return [f"the folds name {len(gone)} case{'s' * (len(gone) > 1)} that {'are' if len(gone) > 1 else 'is'} not here, and "
            f"go on without ({listed(gone)})"] if gone else []


def _dataset_name(recipe: Recipe, workspace: Workspace, number: int | None) -> str:
    """The name of the new dataset; without a number, the first one that is free, or that of an import that was stopped."""
    known = workspace.numbered()
    wanted = "".join(c for c in recipe.name if c.isalnum() or c == "_")
    if not wanted.strip("_"):
        raise UserError("the name of the dataset has no letter and no digit", found=repr(recipe.name),
                        do="give it one with --name")

    def is_unfinished(taken: int) -> bool:
        folder = workspace.home / "raw" / known[taken]
        return known[taken] == f"Dataset{taken:03d}_{wanted}" and folder.is_dir() and not is_file(folder / DATASET_JSON)

    if number is None:
        number = next((taken for taken in known if is_unfinished(taken)), None) or next(
            free for free in range(1, _HIGHEST_NUMBER + 1) if free not in known)
    elif number in known and not is_unfinished(number):
        raise UserError("this number is taken", where=workspace.home / "raw", found=known[number],
                        do="choose another one with -d, or leave -d out")
    return f"Dataset{number:03d}_{wanted}"


def _write_descriptions(foreign: ForeignDataset, cases: Sequence[FoundCase], folder: Path) -> list[str]:
    """The table, if there is one, and `dataset.json`; a sentence where the published table is not here."""
    recipe, rows = foreign.recipe, foreign.rows
    training = [case for case in cases if not case.held_out]
    content = {
        "name": recipe.name, "description": recipe.title, "reference": recipe.home_page, "licence": recipe.licence,
        "converted_by": f"autoseg_import {foreign.origin}",
        "channel_names": {str(number): channel.name for number, channel in enumerate(recipe.channels)},
        "labels": recipe.labels.names, "numTraining": len(training), "file_ending": recipe.file_ending}
    optional: dict[str, Any] = {
        "optional_channels": [channel.name for channel in recipe.channels if channel.optional],
        "reference_channel": recipe.reference_channel, "regions_class_order": recipe.labels.regions_class_order,
        "registration": {c.name: c.registration for c in recipe.channels if c.registration is not None},
        "paired_labels": recipe.labels.paired, "labels_present": _labels_present(recipe, training)}
    if recipe.table is not None:
        optional |= _write_table(recipe.table, {case.name: rows[case.name] for case in cases}, cases, folder)
    filled = {key: value for key, value in (content | optional).items() if value != "" and (value or key in content)}
    write_json(folder / DATASET_JSON, {**filled, **foreign.keys})
    if recipe.table is None or not recipe.table.files or foreign.files.table is not None:
        return []
    return [f"the clinical table is not here ({recipe.table.files[0]}), so less is known of the patients; put it into the "
            "folder and import again, if you want it"]


def _write_table(recipe: RecipeTable, rows: Rows, cases: Sequence[FoundCase], folder: Path) -> dict[str, Any]:
    """Write what is known of the cases, of the held-out ones beside their images; the keys of `dataset.json` that name its
    columns. Nothing where nothing is known.
    """
    if not any(rows.values()):
        return {}
    write_text(folder / NAME, as_csv({case.name: rows[case.name] for case in cases if not case.held_out}))
    held_out = {case.name: rows[case.name] for case in cases if case.held_out}
    if held_out:
        write_text(folder / "imagesTs" / NAME, as_csv(held_out))
    columns = {column for row in rows.values() for column in row}
    conditions = {column: how for column, how in recipe.conditions.items() if column in columns}
    outcomes = {name: outcome for name, outcome in recipe.outcomes.items()
                if {outcome[key] for key in ("column", "time", "event") if key in outcome} <= columns}
    return {"conditions": {"table": NAME, "id": ID, "columns": conditions}, "modality_column": recipe.modality_column,
            "groups": {"patient": recipe.patient} if recipe.patient else {}, "outcomes": outcomes}


def _labels_present(recipe: Recipe, cases: Sequence[FoundCase]) -> dict[str, list[str]]:
    """The organs of each case that lacks the file of some."""
    if recipe.labels.kind != "organs":
        return {}
    present = {case.name: {recipe.labels.values[organ] for organ, _ in case.labels if organ in recipe.labels.values}
               for case in cases}
    names = {value: name for name, value in recipe.labels.names.items() if isinstance(value, int) and value}
    return {case: [name for value, name in names.items() if value in values] for case, values in present.items()
            if values < names.keys()}


def _other_counts(recipe: Recipe, training: Sequence[FoundCase], held_out: Sequence[FoundCase]) -> list[str]:
    counted = {"training": len(training), "held_out": len(held_out)}
    return [f"{counted[kind]} {kind.replace('_', '-')} cases were found, the published dataset has {n}"
            for kind, n in recipe.counts.items() if counted[kind] != n]


def _other_archives(recipe: Recipe, source: Path) -> list[str]:
    """Sentences for downloads in the folder, or beside it, whose checksum is not the published one."""
    paths = [folder / archive.file for archive in recipe.archives for folder in (source, source.parent)]
    known = {archive.file: archive for archive in recipe.archives}
    return [f"{path}: its {known[path.name].kind} checksum is not the published one; download it again" for path in paths
            if is_file(path) and checksum(path, known[path.name].kind) != known[path.name].checksum]
