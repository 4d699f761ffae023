"""The features of the cases of each fold, seen by the model that was not trained on them, kept beside its weights.

N validation cases of a fold, A anchors, 2 E channels. A mask is the model's own prediction of the case, never its label: a
new patient is seen alike.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from autoseg.base.errors import UserError, listed
from autoseg.base.progress import progress
from autoseg.datasets.case import Case
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.digests import case_digest, transforms_of
from autoseg.datasets.raw import load_case
from autoseg.formats import read_label
from autoseg.formats.files import combined_digest, digest
from autoseg.outcome.embed import embedding, lesion_crop, lesion_on_grid
from autoseg.outcome.features import Anchors, CaseFeatures, Measures, measure
from autoseg.prediction.inference_settings import Postprocessing
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.models import train_command
from autoseg.prediction.postprocess import apply
from autoseg.training.inputs import started_splits
from autoseg.training.repair import read_started_with
from autoseg.workspace.checkpoint import load_weights, read_digest, read_facts, save_weights
from autoseg.workspace.folders import FoldFolder, ModelFolder
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)

N_ANCHORS = 16
_VERSION = "1"  # of how features are computed
_LESION_WORDS = ("tumour", "tumor", "lesion", "cancer", "carcinoma", "metastasis", "gtv", "core")


@dataclass(frozen=True)
class Segmenter:
    """A trained configuration, the raw dataset of its cases, where registration found its transforms, and what is done to
    masks of new patients, which is done to these masks, too.
    """

    model: ModelFolder
    raw: Dataset
    plan: Plan
    transforms: Path | None
    lesion: str
    device: str = "auto"
    postprocessing: Postprocessing = field(default_factory=Postprocessing)

    @cached_property
    def validated(self) -> Mapping[str, tuple[str, ...]]:
        """The validation cases of each fold. Raises UserError where a fold is not finished."""
        path, n_folds = self.model.path, len(started_splits(self.model))
        if self.plan.configurations[self.model.configuration].previous:
            raise UserError("outcomes are not fitted on a cascade: its earlier stage has seen every case", where=path,
                            do="name another configuration with -c")
        for fold in range(n_folds):
            if not self.model.fold(fold).is_finished:
                raise UserError(f"fold {fold} is not trained: its cases have no mask that is not their own",
                                where=self.model.path, found=f"fold {', '.join(self.model.folds) or 'none'}",
                                expected=f"all {n_folds} folds", do=f"train it: {train_command(self.model, fold)}")
        if n_folds < 2:
            raise UserError("outcomes need folds of the segmentation", where=self.model.path, found=f"{n_folds} folds",
                            do="train at least two folds")
        started = {str(fold): read_started_with(self.model.fold(fold)) for fold in range(n_folds)}
        validated = {fold: known.validation if known is not None else started_splits(self.model)[int(fold)].validation
                     for fold, known in started.items()}
        gone = sorted({name for names in validated.values() for name in names} - set(self.raw.names))
        if gone:
            raise UserError("cases of the folds are no longer in the dataset", where=self.raw.folder, found=listed(gone),
                            do="put them back, or train the folds again without them")
        return validated

    @cached_property
    def fold_of(self) -> Mapping[str, str]:
        """The fold that each case validates; the first of several."""
        return {name: fold for fold in reversed(list(self.validated)) for name in self.validated[fold]}

    def mask_path(self, name: str) -> Path:
        """The mask of a case by the model that has not seen it; a UserError where it is gone."""
        fold = self.fold_of[name]
        path = self.model.fold(fold).mask(name, self.plan.file_ending)
        if not path.is_file():
            raise UserError("the predicted mask of a validation case is missing", where=path,
                            do=f"predict it again: {train_command(self.model, fold)}")
        return path

    def load(self, name: str) -> tuple[Case, np.ndarray]:
        """A case as read, and its predicted label map (z, y, x)."""
        files = self.raw.case(name)
        case = load_case(files, self.plan.channels, transforms=transforms_of(self.transforms, self.raw.case(name)))
        label, geometry = read_label(self.mask_path(name))
        if difference := case.geometry.difference(geometry):
            raise UserError("the predicted mask is not on the grid of the images", where=self.mask_path(name),
                            found=difference, do=f"predict it again: {train_command(self.model, self.fold_of[name])}")
        return case, apply(self.postprocessing, label, self.plan.labels, case.geometry)

    def digest(self, name: str) -> str:
        """Of the files of a case, and of its mask."""
        return combined_digest([case_digest(self.raw.case(name), transforms_of(self.transforms, self.raw.case(name))),
                                digest(self.mask_path(name))])

    def is_lesion(self, label_DHW: np.ndarray) -> np.ndarray:
        return np.isin(label_DHW, self.plan.labels.names[self.lesion])


@dataclass(frozen=True)
class FoldFeatures:
    """The features of the validation cases of one fold, and the anchors as its model sees them."""

    fold: str
    cases: Mapping[str, CaseFeatures]
    anchors: Anchors


def lesion_of(plan: Plan, wanted: str | None) -> str:
    """The label that features are of: the one that is named, else the first whose name says a lesion, else the last."""
    known = plan.labels.foreground
    if wanted is not None and wanted not in known:
        raise UserError(f"unknown label {wanted!r}", where=plan.dataset, expected=", ".join(known))
    return wanted or next((name for name in known if any(word in name.lower() for word in _LESION_WORDS)), known[-1])


def choose_anchors(segmenter: Segmenter, seed: int) -> tuple[str, ...]:
    """Some cases in which a lesion was predicted, by lot; they do not depend on any outcome."""
    names = sorted(segmenter.fold_of)
    chosen: list[str] = []
    for place in np.random.default_rng(seed).permutation(len(names)):
        if len(chosen) == N_ANCHORS:
            break
        if segmenter.is_lesion(read_label(segmenter.mask_path(names[place]))[0]).any():
            chosen.append(names[place])
    return tuple(sorted(chosen))


def fold_features(segmenter: Segmenter, fold: str, anchors: Sequence[str]) -> FoldFeatures:
    """The features of a fold's validation cases: those that are kept, if they are of these weights, masks and images."""
    folder, names = segmenter.model.fold(fold), segmenter.validated[fold]
    recipe = segmenter.plan.configurations[segmenter.model.configuration].model_dump_json()
    stamp = combined_digest([_VERSION, read_digest(folder.checkpoint), segmenter.lesion, recipe,
                             segmenter.postprocessing.model_dump_json(), *names, "anchors", *anchors,
                             *(segmenter.digest(name) for name in (*names, *anchors))])
    known = _kept(folder, stamp)
    if known is not None:
        return known
    member = ConfigurationModel.open(segmenter.model, folds=[fold], device=segmenter.device)
    cases: dict[str, CaseFeatures] = {}
    seen: dict[str, np.ndarray] = {}
    wanted = list(dict.fromkeys((*names, *anchors)))
    for name in progress(wanted, f"features of fold {fold}", len(wanted)):
        case, label_DHW = segmenter.load(name)
        embeddings, crop = seen_by(member, case, segmenter.is_lesion(label_DHW))
        seen[name] = embeddings[0]
        if name in names:
            measures = measure_case(member.plan, case, label_DHW, segmenter.lesion)
            cases[name] = CaseFeatures(measures, embeddings, crop)
    features = FoldFeatures(fold, cases, Anchors(tuple(anchors), np.array([seen[name] for name in anchors])))
    _keep(folder, stamp, features)
    return features


def measure_case(plan: Plan, case: Case, label_DHW: np.ndarray, lesion: str) -> Measures:
    """The measured blocks of a case with its predicted label map (z, y, x)."""
    return measure(case, label_DHW, plan.labels, [channel.name for channel in plan.channels], lesion)


def seen_by(member: ConfigurationModel, case: Case, lesion_DHW: np.ndarray) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
    """What each model of a configuration sees in a case and in its lesion (bool, on the file's grid), and a crop of it."""
    prepared = member.prepare(case)
    on_grid = lesion_on_grid(prepared, lesion_DHW, member.configuration)
    seen = tuple(embedding(model, prepared, on_grid, member.plan, member.configuration, member.runtime)
                 for model in member.models)
    return seen, lesion_crop(prepared, on_grid)


def _keep(folder: FoldFolder, stamp: str, features: FoldFeatures) -> None:
    """Write them beside the weights."""
    cases = features.cases
    arrays = {"embedding": np.array([case.embeddings[0] for case in cases.values()]),
              "crop": np.array([case.crop for case in cases.values()], np.float32),
              "anchors": features.anchors.embeddings_AE}
    facts = {"stamp": stamp, "anchors": features.anchors.names,
             "measures": {name: _plain(case.measures) for name, case in cases.items()}}
    save_weights(folder.outcome_features, {name: torch.from_numpy(array) for name, array in arrays.items()}, facts)


def _kept(folder: FoldFolder, stamp: str) -> FoldFeatures | None:
    """The features that are there; None where there are none, or of other weights, masks or images."""
    path = folder.outcome_features
    if not path.is_file():
        return None
    try:
        if read_facts(path).get("stamp") != stamp:
            return None
        tensors, facts = load_weights(path)
    except UserError as error:
        logger.warning("the features are computed again: %s", error)
        return None
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    cases = {name: CaseFeatures(_numbers(measures), (arrays["embedding"][k],), arrays["crop"][k])
             for k, (name, measures) in enumerate(facts["measures"].items())}
    return FoldFeatures(folder.name, cases, Anchors(tuple(facts["anchors"]), arrays["anchors"]))


def _plain(measures: Measures) -> dict[str, dict[str, float | None]]:
    """Without NaN, which JSON does not know."""
    return {block: {name: value if np.isfinite(value) else None for name, value in values.items()}
            for block, values in measures.items()}


def _numbers(measures: Mapping[str, Mapping[str, float | None]]) -> Measures:
    return {block: {name: np.nan if value is None else value for name, value in values.items()}
            for block, values in measures.items()}
