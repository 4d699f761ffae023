"""Convert many patients' DICOM into a raw dataset: write case by case, describe at the end; the same command goes on."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError, listed, raise_faults
from autoseg.base.parallel import Effort, each_case
from autoseg.base.progress import progress_bar
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.unlabelled import without_labels
from autoseg.formats.dicom import Stack, share_a_frame
from autoseg.formats.files import is_file
from autoseg.interop.dicom_dataset.case import CaseResult, CaseTask, convert_case, is_whole, remove_case
from autoseg.interop.dicom_dataset.channels import Channels
from autoseg.interop.dicom_dataset.pseudonyms import Pseudonyms
from autoseg.interop.dicom_dataset.structures import StructureTable
from autoseg.interop.dicom_dataset.studies import CaseStudy
from autoseg.interop.dicom_dataset.table import CONVERTED_BY, DatasetContent, rows_of_studies, write_descriptions
from autoseg.workspace.files import append_record, check_writable, read_edited_json, read_records
from autoseg.workspace.names import DATASET_JSON, Workspace
from autoseg.workspace.partial import remove_leftovers_below
from planners.schema.names import fault_of_name

_RECORDS = "conversion.jsonl"  # in the dataset's folder: the cases that are whole, each with a digest of its source
_NOT_IN_NAMES = str.maketrans({character: "-" for character in " ^/\\:*?\"<>|=,;"})


@dataclass(frozen=True)
class Settings:
    """How a dataset is converted. Without a `table` there are no labels."""

    number: int
    name: str
    channels: Channels
    table: StructureTable | None = None
    newest: bool = False
    keep_identifiers: bool = False


@dataclass(frozen=True)
class Converted:
    """A dataset that was converted, with the study of each of its cases; `kept` of them were there already. `faults` are of
    studies that are left out.
    """

    dataset: str
    folder: Path
    studies: Mapping[str, CaseStudy]
    kept: int
    images_alone: bool
    warnings: tuple[str, ...]
    faults: tuple[str, ...]

    @property
    def n_cases(self) -> int:
        return len(self.studies)


def convert_studies(studies: Sequence[CaseStudy], source: Path, workspace: Workspace, settings: Settings,
                    pseudonyms: Pseudonyms, *, workers: int = 1) -> Converted:
    """Make the raw dataset `DatasetNNN_<name>` of studies, one case per study.

    `dataset.json` is written last. Cases that an earlier run made of the same files in the same way are kept. Raises
    UserError where the number is taken by another dataset, and where the dataset holds cases of other studies.
    """
    dataset = _dataset_name(workspace, settings)
    folder = workspace.home / "raw" / dataset
    check_writable(folder)
    remove_leftovers_below(folder)
    named = _named(studies, pseudonyms, keep_identifiers=settings.keep_identifiers)
    tasks = {name: _task(name, study, folder, settings, pseudonyms) for name, study in named.items()}
    kept = _kept(tasks, named, folder)
    results = {**kept, **{name: CaseResult(fault=f"case {name}: {study.fault}") for name, study in named.items()
                          if study.fault}}
    for name in results.keys() - kept.keys():
        remove_case(tasks[name])
    results |= _convert([task for name, task in tasks.items() if name not in results], workers, folder)
    results = {name: results[name] for name in named}
    whole = {name: result for name, result in results.items() if not result.fault}
    faults = [result.fault for result in results.values() if result.fault]
    if not whole:
        raise_faults(source, faults or [f"{source}: no study is here"])
    used = {name: named[name] for name in whole}
    rows = rows_of_studies(used, settings.channels.names[settings.channels.reference], pseudonyms,
                           keep_identifiers=settings.keep_identifiers)
    content = DatasetContent(settings.name, settings.channels, settings.table)
    write_descriptions(content, rows, whole, folder)
    warnings = [warning for result in whole.values() for warning in result.warnings]
    warnings += [*_unused(settings.table, studies), *_other_frames(used)]
    if settings.table is None:
        scanned = without_labels(Dataset.open(folder)).scanned
        warnings += scanned.warnings
        raise_faults(folder, scanned.faults)
    return Converted(dataset, folder, used, len(kept), settings.table is None, tuple(warnings), tuple(faults))


def _dataset_name(workspace: Workspace, settings: Settings) -> str:
    """The name of the dataset. One of the same number is gone on with, if this command made it under the same name."""
    dataset = f"Dataset{settings.number:03d}_{settings.name}"
    if fault := fault_of_name(dataset):
        raise UserError("this name cannot be one of a dataset", where="--name", found=settings.name, expected=fault)
    for taken in workspace.datasets():
        if int(taken.removeprefix("Dataset").split("_")[0]) == settings.number and not _is_ours(workspace, taken, dataset):
            raise UserError("this number is taken", where=workspace.home / "raw", found=taken,
                            do="choose another one with -d")
    return dataset


def _is_ours(workspace: Workspace, taken: str, dataset: str) -> bool:
    path = workspace.home / "raw" / taken / DATASET_JSON
    if taken != dataset or not path.parent.is_dir():
        return False
    return not is_file(path) or read_edited_json(path).get("converted_by") == CONVERTED_BY


def _named(studies: Iterable[CaseStudy], pseudonyms: Pseudonyms, *, keep_identifiers: bool) -> dict[str, CaseStudy]:
    """The studies by the names of their cases: pseudonyms of patient and study, or the patient's number and the date."""
    named: dict[str, CaseStudy] = {}
    for study in studies:
        own = pseudonyms.study(study.uid)
        name = f"{pseudonyms.patient(study.patient)}_{own}"
        if keep_identifiers:
            plain = "_".join(filter(None, (study.patient.translate(_NOT_IN_NAMES).strip("-."), study.date)))
            name = name if fault_of_name(plain) else plain if plain not in named else f"{plain}_{own}"
        if name in named:
            raise UserError("two studies would get the same name", found=name, do="name another secret with --key")
        named[name] = study
    return dict(sorted(named.items()))


def _task(name: str, study: CaseStudy, folder: Path, settings: Settings, pseudonyms: Pseudonyms) -> CaseTask:
    said = {"study": study.uid, "volumes": [stack and _slices(stack) for stack in study.volumes],
            "channels": settings.channels.names, "reference": settings.channels.reference,
            "structures": sorted(structures.uid for structures in study.structures), "newest": settings.newest,
            "table": None if settings.table is None else settings.table.model_dump(mode="json")}
    volumes = study.volumes or (None,) * len(settings.channels.specs)
    return CaseTask(name, folder, volumes, study.structures, settings.channels.reference, settings.table, settings.newest,
                    pseudonyms.content(json.dumps(said, sort_keys=True)))


def _slices(stack: Stack) -> list[str]:
    """What says that a volume is made of the same slices."""
    return [f"{part.uid} {part.frame}" for part in stack.slices]


def _kept(tasks: Mapping[str, CaseTask], named: Mapping[str, CaseStudy], folder: Path) -> dict[str, CaseResult]:
    """The cases that an earlier run made of the same files in the same way."""
    records = {record["case"]: record for record in read_records(folder / _RECORDS)}
    if strange := sorted(records.keys() - tasks.keys()):
        raise UserError(f"the dataset holds {len(strange)} cases of studies that are not here", where=folder,
                        found=listed(strange), do="name the folder that holds all studies, or make another dataset with -d")
    return {name: CaseResult(tuple(records[name]["present"]), tuple(records[name]["warnings"]))
            for name, task in tasks.items()
            if name in records and records[name]["source"] == task.source and not named[name].fault and is_whole(task)}


def _convert(tasks: Sequence[CaseTask], workers: int, folder: Path) -> dict[str, CaseResult]:
    results: dict[str, CaseResult] = {}
    effort = Effort("converting", [task.estimated_bytes for task in tasks], tried=1)
    with progress_bar("converting", len(tasks)) as bar:
        converting = each_case(convert_case, tasks, workers, bar.update, effort=effort,
                         died=lambda task, why: CaseResult(fault=f"case {task.name}: {why}"))
        for task, result in zip(tasks, converting, strict=True):
            results[task.name] = result
            if not result.fault:
                append_record(folder / _RECORDS, {"case": task.name, "source": task.source, "present": list(result.present),
                                                  "warnings": list(result.warnings)})
    return results


def _unused(table: StructureTable | None, studies: Iterable[CaseStudy]) -> list[str]:
    """A sentence for names of the table that no study has: they may be misspelt."""
    if table is None:
        return []
    names = {name for study in studies for structures in study.structures for name in structures.names}
    unused = [name for label, spellings in table.labels.items() for name in spellings
              if not any(StructureTable(labels={label: (name,)}).label_of(other) for other in names)]
    return [f"no study has these structures: {listed(unused, len(unused))}"] if unused else []


def _other_frames(studies: Mapping[str, CaseStudy]) -> list[str]:
    """A sentence where channels of a case have positions that cannot be compared."""
    apart = [case for case, study in studies.items()
             if not share_a_frame(stack.facts for stack in study.volumes if stack is not None)]
    return [f"{len(apart)} cases have channels in different frames of reference ({listed(apart)}): their positions need not "
            "agree; see dataset.json, registration, to align them"] if apart else []
