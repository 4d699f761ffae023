"""Several configurations as one predictor: their probabilities are averaged on the file's own grid.

It is used for a single configuration too, wherever masks are postprocessed or models are asked how far they agree.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from autoseg.base.runtime import open_runtime
from autoseg.clinical.conditions import CaseConditions
from autoseg.datasets.case import Case, CaseFiles, PreparedCase
from autoseg.formats import read_header
from autoseg.prediction.current_settings import read_current_settings
from autoseg.prediction.decision import decided
from autoseg.prediction.export import make_certain_outside, probability_slabs, restore_label, restore_probabilities
from autoseg.prediction.inference_settings import InferenceSettings, Postprocessing, QualityControl
from autoseg.prediction.models import FoldModel
from autoseg.prediction.postprocess import apply
from autoseg.prediction.predictor import CasesToPredict, Prediction, Predictor, only_case
from autoseg.prediction.uncertainty import Votes
from autoseg.workspace.names import Workspace
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)


# Of a case whose voxels are no longer needed.
_NO_VOXELS = np.zeros((0, 0, 0, 0), np.float32)


class Ready:
    """A case on its memory_plan to the models, and what they will see of it, if that is there already."""

    def __init__(self, case: Case, prepared: PreparedCase | None = None):
        self.case, self._prepared = case, prepared

    def take(self) -> PreparedCase | None:
        """What the models will see, once: whoever takes it can let it go."""
        prepared, self._prepared = self._prepared, None
        return prepared


class Ensemble:
    """Configurations of one dataset, each with its folds; it finds, loads and predicts as a `Predictor` does.

    Within a configuration logits are averaged, between configurations probabilities.
    """

    def __init__(self, members: Sequence[Predictor], postprocessing: Postprocessing | None = None,
                 quality_control: QualityControl | None = None):
        if not all(member.plan.labels.means_the_same_as(members[0].plan.labels) for member in members):
            raise ValueError("the members of an ensemble have the same labels")
        self.members, self.quality_control = tuple(members), quality_control
        self.postprocessing = postprocessing or Postprocessing()

    @classmethod
    def open(cls, *, dataset: str | int | None = None, configuration: str | None = None, planner: str | None = None,
             folds: Sequence[int | str] | None = None, folder: str | Path | None = None,
             home: str | Path | None = None, device: str = "auto", mirroring: bool = True,
             skip_background: bool = False) -> "Ensemble":
        """What `inference.json` says, where nothing but the dataset is named; else as `Predictor.open`.

        Raises UserError where the choice is not clear, or `inference.json` is out of date.
        """
        if configuration is None and planner is None and folds is None and folder is None:
            workspace = Workspace.open(home)
            inference = read_current_settings(workspace, None if dataset is None else str(dataset))
            if inference is not None:
                return cls.of(workspace, inference, device=device, mirroring=mirroring, skip_background=skip_background)
        return cls([Predictor.open(dataset=dataset, configuration=configuration, planner=planner, folds=folds,
                                   folder=folder, home=home, device=device, mirroring=mirroring,
                                   skip_background=skip_background)])

    @classmethod
    def of(cls, workspace: Workspace, inference: InferenceSettings, *, device: str = "auto", **how: bool) -> "Ensemble":
        """The models that `inference` names, with its postprocessing and its quality control; `how` as in `Predictor.open`."""
        logger.info("as %s says: %s", workspace.inference_settings(inference.dataset),
                    " + ".join(member.title for member in inference.members))
        runtime = open_runtime(device)
        folders = [workspace.model(inference.dataset, member.planner, member.configuration).path
                   for member in inference.members]
        members = [Predictor.open(folder=folder, folds=member.folds, device=str(runtime.device), **how)
                   for folder, member in zip(folders, inference.members, strict=True)]
        return cls(members, inference.postprocessing, inference.quality_control)

    @property
    def plan(self) -> Plan:
        """The first member's: what it says of channels, labels and files holds for all."""
        return self.members[0].plan

    @property
    def name(self) -> str:
        return " + ".join(member.name for member in self.members)

    @property
    def models(self) -> tuple[FoldModel, ...]:
        return tuple(model for member in self.members for model in member.models)

    def find(self, path: str | Path, table: str | Path | None = None) -> CasesToPredict:
        """As `Predictor.find`, by a member that conditions need, if there is one."""
        told = [member for member in self.members if member.uses_conditions]
        return (told or self.members)[0].find(path, table)

    def predict_file(self, path: str | Path, probabilities: bool = False, *, table: str | Path | None = None) -> Prediction:
        """As `Predictor.predict_file`."""
        return self.predict(self.load(*only_case(self.find(path, table), path)), probabilities)

    def load(self, files: CaseFiles, conditions: Mapping[str, CaseConditions]) -> Case:
        """As `Predictor.load`."""
        return self.members[0].load(files, conditions)

    def ready(self, case: Case) -> "Ready":
        """The case as far as it can be made ready without a model. What one model alone will see is prepared, and the
        voxels of the file are let go.
        """
        member = self.members[0]
        if len(self.members) > 1 or member.previous is not None:
            return Ready(case)
        return Ready(replace(case, image_CDHW=_NO_VOXELS, absent_CDHW=None), member.prepare(case))

    def bytes_to_read(self, files: CaseFiles) -> int:
        """Memory that reading and preparing a case needs, from its headers: of each voxel the float32 that is read, the one
        that is checked and put in its channel, and the one that is normalised.
        """
        return sum(12 * header.n_channels * math.prod(header.geometry.shape)
                   for header in (read_header(path) for path in files.images if path is not None))

    def bytes_to_predict(self, files: CaseFiles, *, soft: bool = False) -> int:
        """Memory that predicting a prepared case needs beside the image and the network, from its header; `soft`: with
        probabilities or uncertainty.
        """
        geometry = next(read_header(path).geometry for path in files.images if path is not None)
        of_all_heads = 2 * self.plan.labels.n_heads * math.prod(geometry.shape) if soft or len(self.members) > 1 else 0
        return of_all_heads + max(member.bytes_to_predict(geometry) for member in self.members)

    def predict(self, case: Case, probabilities: bool = False, uncertainty: bool = False) -> Prediction:
        """As `predict_ready`."""
        return self.predict_ready(Ready(case), probabilities, uncertainty)

    def predict_ready(self, ready: "Ready", probabilities: bool = False, uncertainty: bool = False) -> Prediction:
        """The segmentation of a case on its own grid, postprocessed, with its quality where that is known.

        `uncertainty` adds the entropy and the disagreement of the models. Of several configurations one array of all heads
        is held on the file's grid, as float16; for `uncertainty` another.
        """
        case = ready.case
        labels, shape = self.plan.labels, case.geometry.shape
        votes = None
        if uncertainty or self.quality_control is not None:
            temperature = 1.0 if self.quality_control is None else self.quality_control.temperature
            votes = Votes(labels, shape, len(self.models), temperature, uncertainty)
        if len(self.members) == 1:
            label, soft = _alone(self.members[0], ready, probabilities, votes)
        else:
            soft = np.zeros((labels.n_heads, *shape), np.float16)
            for member in self.members:
                _add(soft, member, case, 1 / len(self.members), votes)
            label = decided(soft, labels)
            label = label.astype(np.uint8) if label.max() <= 255 else label
        label = apply(self.postprocessing, label, labels, case.geometry)
        entropy, disagreement = votes.images() if uncertainty else (None, None)
        return Prediction(case, label, soft if probabilities else None,
                          None if votes is None else votes.quality(case.name, self.quality_control), entropy, disagreement)


def _logits(member: Predictor, prepared: PreparedCase, case: Case, votes: Votes | None) -> torch.Tensor:
    """Mean logits of a member; where votes are asked for, model by model, which costs one resampling each."""
    if votes is None:
        return member.logits(prepared, case)
    total = None
    for model in member.models:
        logits = member.logits(prepared, case, [model])
        votes.add(probability_slabs(logits, prepared, member.plan, member.configuration))
        logits.div_(len(member.models))  # before they are added: half precision has a largest value
        # Where the device was too small for one of them, its logits are in the host's memory.
        total = logits if total is None else _sum(total, logits)
    return total


def _sum(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a + b, on the CPU where one of them lies there."""
    device = a.device if a.device == b.device else torch.device("cpu")
    return a.to(device).add_(b.to(device))


def _alone(member: Predictor, ready: Ready, probabilities: bool, votes: Votes | None
           ) -> tuple[np.ndarray, np.ndarray | None]:
    prepared = ready.take() or member.prepared(ready.case)
    logits = _logits(member, prepared, ready.case, votes)
    prepared = replace(prepared, image_CDHW=_NO_VOXELS, absent_CDHW=None)  # export needs the memory
    arguments = (logits, prepared, member.plan, member.configuration)
    return restore_label(*arguments), restore_probabilities(*arguments) if probabilities else None


def _add(soft_KDHW: np.ndarray, member: Predictor, case: Case, share: float, votes: Votes | None) -> None:
    """Add a member's share of the probabilities, in place."""
    prepared = member.prepared(case)
    logits = _logits(member, prepared, case, votes)
    for window, slab in probability_slabs(logits, prepared, member.plan, member.configuration):
        soft_KDHW[(slice(None), *window)] += (slab * share).astype(np.float16)
    if not member.plan.labels.has_regions:
        make_certain_outside(soft_KDHW[0], prepared, share)
