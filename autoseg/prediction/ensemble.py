"""Predictions of several models, on the disk, become one: the weighted mean of probabilities, or a weighted vote of masks.

Models of other programs take part, if they share labels and grid. nnU-Net averages probabilities in the same way
(nnunetv2/ensembling/ensemble.py), without weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError, case_fault, listed, raise_faults
from autoseg.base.parallel import Effort, each_case
from autoseg.base.progress import progress_bar
from autoseg.base.version import __version__
from autoseg.datasets.raw import distinct
from autoseg.formats import ending_of, open_source, read_header, read_label
from autoseg.grids.geometry import Geometry
from autoseg.prediction.decision import decided
from autoseg.prediction.inference_settings import Postprocessing
from autoseg.prediction.mask_folders import (
    MaskFolder,
    common_labels,
    open_masks,
    read_scores,
    refuse_turned_axes,
    written_values,
)
from autoseg.prediction.sidecar import SIDECAR, Sidecar
from autoseg.workspace.files import check_writable, write_json
from autoseg.workspace.partial import remove_leftovers
from autoseg.workspace.paths import below
from planners.schema.labels import LabelSpec


@dataclass(frozen=True)
class _Task:
    """A case: for each folder its mask and its probabilities (one of them at least), and the mask to write."""

    name: str
    masks: tuple[Path | None, ...]
    probabilities: tuple[Path | None, ...]
    weights: tuple[float, ...]  # their sum is 1
    labels: LabelSpec | None
    target: Path


@dataclass(frozen=True)
class Ensembled:
    """How many masks were written, of how many of them probabilities were averaged, and a sentence for each case that was
    not.
    """

    n_masks: int
    n_averaged: int
    faults: tuple[str, ...]


def ensemble(sources: Sequence[Path], target: Path, *, weights: Sequence[float] = (), labels: LabelSpec | None = None,
             workers: int = 1) -> Ensembled:
    """Write the ensemble of the masks of several folders into `target`, and `labels.json` beside them.

    Where every folder has probabilities of a case, their mean is decided as in a prediction. Where none has, the masks vote
    for each voxel: of equal votes the lower value counts. Where some have, the other masks count as certain.
    Raises UserError where the folders have different cases or labels, or probabilities whose axes were turned; a case on
    different grids is a fault of the result.
    """
    shares = _shares(sources, weights)
    folders = [open_masks(source) for source in sources]
    if target.resolve() in {folder.path.resolve() for folder in folders}:
        raise UserError("the masks would replace those of a model", where=target, do="name another folder with -o")
    _refuse_other_cases(folders)
    for folder in folders:
        refuse_turned_axes(folder)
    common = common_labels(folders, labels)
    check_writable(target)
    remove_leftovers(target)
    tasks = [_task(name, folders, shares, common, target) for name in sorted(folders[0].cases)]
    with progress_bar("ensemble", len(tasks)) as bar:
        faults = list(each_case(_write, tasks, workers, bar.update, effort=Effort("the ensemble", tried=1),
                                died=lambda task, why: f"case {task.name}: {why}"))
    done = [task for task, fault in zip(tasks, faults, strict=True) if not fault]
    if not done:
        raise_faults(target, [fault for fault in faults if fault])
    if common is not None:
        write_json(target / SIDECAR, _sidecar(folders, common, [task.target.name for task in done]))
    return Ensembled(len(done), sum(any(task.probabilities) for task in done), tuple(filter(None, faults)))


def _shares(sources: Sequence[Path], weights: Sequence[float]) -> tuple[float, ...]:
    if len(sources) < 2:
        raise UserError("an ensemble needs two folders or more", found=len(sources), do="name them after -i")
    if weights and (len(weights) != len(sources) or not all(0 < weight < float("inf") for weight in weights)):
        raise UserError("the weights do not fit the folders", found=listed(weights, len(weights)),
                        expected=f"{len(sources)} numbers above 0, one for each folder in their order")
    if twice := [path for k, path in enumerate(sources) if path.resolve() in {other.resolve() for other in sources[:k]}]:
        raise UserError("a folder is named twice", found=listed(twice), do="name it once; --weights lets it count more")
    given = weights or [1.0] * len(sources)
    return tuple(weight / sum(given) for weight in given)


def _refuse_other_cases(folders: Sequence[MaskFolder]) -> None:
    every = set[str]().union(*(folder.cases for folder in folders))
    lacking = [f"{folder.path} lacks {listed(sorted(every - folder.cases))}" for folder in folders if every - folder.cases]
    if lacking:
        raise UserError("the folders do not have the same cases", found="; ".join(lacking),
                        do="predict these cases, too, or remove them from the other folders")


def _task(name: str, folders: Sequence[MaskFolder], shares: tuple[float, ...], labels: LabelSpec | None, target: Path
          ) -> _Task:
    masks = tuple(folder.masks.get(name) for folder in folders)
    first = next((mask for mask in masks if mask is not None), None)
    ending = ".nii.gz" if first is None else ending_of(first)
    return _Task(name, masks, tuple(folder.probabilities.get(name) for folder in folders), shares, labels,
                 below(target, f"{name}{ending}"))


def _write(task: _Task) -> str:
    """Write the mask of a case; what is wrong with it, empty where nothing is."""
    try:
        reference, geometry = _grid(task)
        label_DHW = _averaged(task, geometry) if any(task.probabilities) else _voted(task)
        open_source(reference).writer(geometry).write_label(task.target, label_DHW)
    except Exception as error:
        return case_fault(error, task.name)
    return ""


def _grid(task: _Task) -> tuple[Path, Geometry]:
    """The mask whose grid counts. Raises UserError where no mask says the grid, or two say different ones."""
    masks = [mask for mask in task.masks if mask is not None]
    if not masks:
        raise UserError("no folder has a mask of this case, which would say its grid", where=f"case {task.name}",
                        do="put the masks beside the probabilities")
    first, *others = [read_header(mask).geometry for mask in masks]
    for mask, geometry in zip(masks[1:], others, strict=True):
        if difference := first.difference(geometry):
            raise UserError("the masks lie on different grids", where=f"case {task.name}, {mask}", found=difference,
                            expected=f"the grid of {masks[0]}")
    return masks[0], first


def _averaged(task: _Task, geometry: Geometry) -> np.ndarray:
    """The label map of the weighted mean of the probabilities; masks without any are certain of what they say."""
    if task.labels is None:
        raise UserError("nothing says what the probabilities are of", where=f"case {task.name}",
                        do="name the dataset with -d, or its dataset.json with --dataset_json")
    labels = task.labels
    total_KDHW: np.ndarray = np.zeros((0, 0, 0, 0), np.float32)
    order = sorted(range(len(task.masks)), key=lambda k: task.probabilities[k] is None)  # they say how many heads there are
    for k in order:
        path, mask = task.probabilities[k], task.masks[k]
        if path is not None:
            scores_KDHW = read_scores(path)
            labels = _fitting(labels, len(scores_KDHW), path)
        elif mask is not None:
            scores_KDHW = _certain(read_label(mask)[0], labels, mask)
        if not np.isfinite(scores_KDHW).all():
            raise UserError("the probabilities hold NaN or infinity", where=path, do="predict this case again")
        if scores_KDHW.shape[1:] != geometry.shape:
            raise UserError("the probabilities lie on another grid than the mask", where=path, found=scores_KDHW.shape[1:],
                            expected=geometry.shape)
        total_KDHW = task.weights[k] * scores_KDHW if not total_KDHW.size else total_KDHW + task.weights[k] * scores_KDHW
    return decided(total_KDHW, labels)


def _fitting(labels: LabelSpec, n_heads: int, path: Path) -> LabelSpec:
    """The labels of probabilities. One head fewer than names says that the heads are regions, painted with these values."""
    if n_heads == labels.n_heads:
        return labels
    if not labels.has_regions and n_heads == len(labels.foreground):
        return LabelSpec(names=labels.names, region_order=tuple(labels.names[name][0] for name in labels.foreground))
    raise UserError("the probabilities are of other labels", where=path, found=f"{n_heads} heads",
                    expected=f"{labels.n_heads}: {listed(labels.heads, labels.n_heads)}")


def _certain(label_DHW: np.ndarray, labels: LabelSpec, mask: Path) -> np.ndarray:
    """A mask as probabilities of 0 and 1 (K, z, y, x)."""
    if labels.has_regions and all(len(labels.names[name]) == 1 for name in labels.foreground):
        raise UserError("a mask of regions beside probabilities needs to know what each region is made of", where=mask,
                        do="name the dataset with -d, or its dataset.json with --dataset_json")
    unknown = sorted(set(distinct(label_DHW)) - set(labels.values))
    if unknown:
        raise UserError("the mask has values that are not declared", where=mask, found=listed(unknown),
                        expected=listed(labels.values, len(labels.values)))
    return np.stack([np.isin(label_DHW, labels.names[name]) for name in labels.heads]).astype(np.float32)


def _voted(task: _Task) -> np.ndarray:
    """The value with the most weight of each voxel; of equal ones the lower."""
    masks = [read_label(mask)[0] for mask in task.masks if mask is not None]
    values = sorted({value for label_DHW in masks for value in distinct(label_DHW)})
    known = set(values) if task.labels is None else {*written_values(task.labels).values(), *task.labels.values}
    if unknown := sorted(set(values) - known):
        raise UserError("the masks have values that are not declared", where=f"case {task.name}", found=listed(unknown),
                        expected=listed(sorted(known), len(known)))
    winner_DHW = np.full(masks[0].shape, values[0], np.int16)
    most_DHW = np.full(masks[0].shape, -1.0)
    for value in values:
        votes_DHW = sum((weight * (label_DHW == value) for weight, label_DHW in zip(task.weights, masks, strict=True)),
                        np.zeros(masks[0].shape))
        is_more = votes_DHW > most_DHW + 1e-9
        winner_DHW[is_more], most_DHW[is_more] = value, votes_DHW[is_more]
    return winner_DHW


def _sidecar(folders: Sequence[MaskFolder], labels: LabelSpec, masks: Sequence[str]) -> Sidecar:
    names: Mapping[str, int] = written_values(labels)
    return Sidecar(autoseg_version=__version__, dataset="", planner="", configuration=f"ensemble of {len(folders)} models",
                   folds=0, labels=dict(names), postprocessing=Postprocessing(), masks=tuple(sorted(masks)))
