"""Saved probabilities of ours as nnU-Net saves its own, so that `nnUNetv2_ensemble` averages both."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from autoseg.base.errors import UserError, case_fault, listed, raise_faults
from autoseg.base.parallel import Effort, each_case
from autoseg.base.progress import progress_bar
from autoseg.formats import READERS, ending_of, read_header
from autoseg.formats.npz import write_npz
from autoseg.formats.properties import write_properties
from autoseg.interop.export_nnunet import labels_there, numbered_without_gaps
from autoseg.prediction.mask_folders import open_masks, read_scores
from autoseg.workspace.files import check_writable, write_json
from autoseg.workspace.names import DATASET_JSON
from autoseg.workspace.partial import remove_leftovers
from autoseg.workspace.paths import below
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

PLANS_JSON = "plans.json"  # nnU-Net's name


@dataclass(frozen=True)
class _Task:
    name: str
    mask: Path
    probabilities: Path
    n_heads: int  # in the order of their values, as nnU-Net has them
    target: Path


@dataclass(frozen=True)
class ExportedProbabilities:
    """How many cases were written, and a sentence for each that was not."""

    n_cases: int
    faults: tuple[str, ...]


def export_probabilities(source: Path, target: Path, labels: LabelSpec, channels: tuple[ChannelSpec, ...], *,
                         workers: int = 1) -> ExportedProbabilities:
    """Write `CASE.npz` and `CASE.pkl` of each case of a folder of predictions, and the dataset.json and plans.json that
    nnU-Net looks for in the first folder of an ensemble. Labels are numbered as `export_nnunet` numbers them.

    Raises UserError where the folder holds no probabilities, or target is the folder itself.
    """
    folder = open_masks(source)
    if target.resolve() == source.resolve():
        raise UserError("the files would lie among those that they are made of", where=target,
                        do="name another folder with -o")
    if not folder.probabilities:
        raise UserError("the folder holds no probabilities", where=source, found=f"{len(folder.masks)} masks",
                        do="predict with --save_probabilities")
    bare = sorted(folder.probabilities.keys() - folder.masks.keys())
    if bare:
        raise UserError("probabilities without a mask beside them, which says their grid", where=source, found=listed(bare))
    check_writable(target)
    remove_leftovers(target)
    tasks = [_Task(name, folder.masks[name], path, labels.n_heads, target)
             for name, path in sorted(folder.probabilities.items())]
    with progress_bar("exporting", len(tasks)) as bar:
        faults = list(filter(None, each_case(_write, tasks, workers, bar.update, effort=Effort("exporting", tried=1),
                                             died=lambda task, why: f"case {task.name}: {why}")))
    if len(faults) == len(tasks):
        raise_faults(source, faults)
    ending = ending_of(tasks[0].mask)
    write_json(target / DATASET_JSON, _description(labels, channels, len(tasks), ending))
    write_json(target / PLANS_JSON, {"dataset_name": "autoseg", "plans_name": "autoseg", "label_manager": "LabelManager",
                                     "image_reader_writer": _reader_there(ending), "configurations": {}})
    return ExportedProbabilities(len(tasks) - len(faults), tuple(faults))


def _write(task: _Task) -> str:
    """Write a case; what is wrong with it, empty where nothing is."""
    try:
        geometry = read_header(task.mask).geometry
        scores_KDHW = read_scores(task.probabilities)
        if scores_KDHW.shape != (task.n_heads, *geometry.shape):
            raise UserError("the probabilities do not fit the labels or the mask", where=task.probabilities,
                            found=scores_KDHW.shape, expected=(task.n_heads, *geometry.shape))
        write_npz(below(task.target, f"{task.name}.npz"), scores_KDHW.astype(np.float16))
        write_properties(below(task.target, f"{task.name}.pkl"), geometry)
    except Exception as error:
        return case_fault(error, task.name)
    return ""


def _description(labels: LabelSpec, channels: tuple[ChannelSpec, ...], n_cases: int, ending: str) -> dict[str, Any]:
    return {"channel_names": {str(number): channel.name for number, channel in enumerate(channels)}, "numTraining": n_cases,
            "file_ending": ending, **labels_there(labels, numbered_without_gaps(labels))}


def _reader_there(ending: str) -> str:
    return "NaturalImage2DIO" if READERS.get(ending).flat else "Tiff3DIO" if ending.startswith(".tif") else "SimpleITKIO"
