"""Trained models that stay in memory and predict case after case.

Within a configuration logits are averaged, between configurations probabilities, on the file's own grid.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from autoseg.base.errors import UserError, raise_faults
from autoseg.base.runtime import Runtime, open_runtime
from autoseg.clinical.conditions import CaseConditions, read_conditions_to_predict
from autoseg.datasets.case import Case, CaseFiles, PreparedCase
from autoseg.datasets.dicom_cases import DicomInput, holds_dicom, scan_studies
from autoseg.datasets.headers import case_warnings
from autoseg.datasets.orientation import orientation_doubt
from autoseg.datasets.raw import load_case, scan_cases
from autoseg.formats import read_header
from autoseg.formats.files import combined_digest, is_folder
from autoseg.prediction.arrays import check_arrays
from autoseg.prediction.current_settings import read_current_settings, settings_of_model
from autoseg.prediction.decision import decided
from autoseg.prediction.export import make_certain_outside, probability_slabs, restore_label, restore_probabilities
from autoseg.prediction.inference_settings import Adaptation, InferenceSettings, Postprocessing, QualityControl
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.modality import conditions_with_modality, files_with_modalities
from autoseg.prediction.models import FoldModel, choose_model, trained_model
from autoseg.prediction.postprocess import apply
from autoseg.prediction.uncertainty import CaseQuality, Votes
from autoseg.workspace.archive import is_archive, opened
from autoseg.workspace.folders import ModelFolder
from autoseg.workspace.names import Workspace
from planners.rules.input_sets import joint_plan
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)

# Of a case whose voxels are no longer needed.
_NO_VOXELS = np.zeros((0, 0, 0, 0), np.float32)


@dataclass(frozen=True)
class Prediction:
    """A case's labels (z, y, x) on the file's grid; the others where they were asked for: probabilities (K, z, y, x),
    the predicted quality of the case, the models' entropy and their disagreement (z, y, x).
    """

    case: Case
    label_DHW: np.ndarray
    probabilities_KDHW: np.ndarray | None = None
    quality: CaseQuality | None = None
    entropy_DHW: np.ndarray | None = None
    disagreement_DHW: np.ndarray | None = None


@dataclass(frozen=True)
class CasesToPredict:
    """The files of some cases, and by name what is known of them beside the images; `left_out` has a sentence for each file
    that is not predicted although it may be an image.
    """

    files: tuple[CaseFiles, ...]
    conditions: Mapping[str, CaseConditions]
    left_out: tuple[str, ...] = ()


class ReadyCase:
    """A case that waits for its prediction, and what the models will see of it, if that is prepared already."""

    def __init__(self, case: Case, prepared: PreparedCase | None = None):
        self.case, self._prepared = case, prepared

    def take(self) -> PreparedCase | None:
        """What the models will see, once, so that the caller can free it."""
        prepared, self._prepared = self._prepared, None
        return prepared


class Predictor:
    """One or several configurations of a dataset, each with its folds. Open one with `Predictor.open(...)`.

    >>> predictor = Predictor.open(dataset=4)
    >>> prediction = predictor.predict_file("case_0000.nii.gz")
    >>> prediction.label_DHW.shape
    """

    def __init__(self, members: Sequence[ConfigurationModel], postprocessing: Postprocessing | None = None,
                 quality_control: QualityControl | None = None, modality: str = ""):
        if not all(member.plan.labels.means_the_same_as(members[0].plan.labels) for member in members):
            raise ValueError("the members of a predictor have the same labels")
        self.members, self.quality_control = tuple(members), quality_control
        self._plan = joint_plan([member.plan for member in members])
        self.postprocessing, self.modality = postprocessing or Postprocessing(), modality

    @classmethod
    def open(cls, *, dataset: str | int | None = None, configuration: str | None = None, planner: str | None = None,
             folds: Sequence[int | str] | None = None, folder: str | Path | None = None,
             home: str | Path | None = None, device: str = "auto", mirroring: bool = True,
             skip_background: bool = False, modality: str = "") -> "Predictor":
        """What `inference.json` says, where nothing but the dataset is named. Else the model of a folder, or of the
        workspace: the only dataset, the best configuration by validation Dice, all finished folds. A folder of the model
        that `inference.json` chose alone predicts with its postprocessing; the log says where a choice is not followed.
        Where `folder` is a model in one file (autoseg_export_model), it is opened like a workspace with one dataset.

        With `skip_background`, tiles that a coarse pass shows to be background are not predicted again
        (`prediction.collect`); a structure that this pass misses is lost. `modality` is that of all cases of which no table
        says it, for a model that takes several in one channel. Raises UserError where the choice is not clear, or
        `inference.json` is out of date.
        """
        if folder is not None and is_archive(Path(folder)):
            with opened(Path(folder)) as (inside, _):
                logger.info("the model is that of %s", folder)
                return Predictor.open(configuration=configuration, planner=planner, folds=folds, home=inside.home,
                                      device=device, mirroring=mirroring, skip_background=skip_background,
                                      modality=modality)
        name = None if dataset is None else str(dataset)
        if configuration is None and planner is None and folds is None and folder is None:
            workspace = Workspace.open(home)
            settings = read_current_settings(workspace, name)
            if settings is not None:
                return cls.from_settings(workspace, settings, device=device, mirroring=mirroring,
                                         skip_background=skip_background, modality=modality)
        if folder is not None:
            trained = trained_model(ModelFolder(Path(folder).resolve()))  # its name is that of the configuration
        else:
            trained = choose_model(Workspace.open(home), name, configuration, planner)
        member = ConfigurationModel.open(trained, folds=folds, device=device, mirroring=mirroring,
                                         skip_background=skip_background)
        is_named = folder is None or folds is not None
        settings = settings_of_model(trained, apply=not is_named)
        if settings is None:
            return cls([member], member.postprocessing, modality=modality)
        return cls([member], settings.postprocessing, settings.quality_control, modality)

    @classmethod
    def from_settings(cls, workspace: Workspace, settings: InferenceSettings, *, device: str = "auto",
                      mirroring: bool = True, skip_background: bool = False, modality: str = "") -> "Predictor":
        """The models that the settings name, with their postprocessing and their quality control."""
        logger.info("as %s says: %s", workspace.inference_settings(settings.dataset),
                    " + ".join(member.title for member in settings.members))
        runtime = open_runtime(device)
        folders = [trained_model(workspace.model(settings.dataset, member.planner, member.configuration))
                   for member in settings.members]
        members = [ConfigurationModel.open(folder, folds=member.folds, device=str(runtime.device),
                                           mirroring=mirroring, skip_background=skip_background)
                   for folder, member in zip(folders, settings.members, strict=True)]
        return cls(members, settings.postprocessing, settings.quality_control, modality)

    def adapting(self, adaptation: Adaptation) -> "Predictor":
        """The same models, of which copies are adapted to each case (`prediction.adapt`), without quality control: its rule
        was made for masks of models as they are.
        """
        return Predictor([member.adapting(adaptation) for member in self.members], self.postprocessing,
                         modality=self.modality)

    @property
    def adaptation(self) -> Adaptation | None:
        return self.members[0].adaptation

    @property
    def plan(self) -> Plan:
        """The first member's, with the channels and conditions of all: what it says of labels and files holds for all."""
        return self._plan

    @property
    def name(self) -> str:
        return " + ".join(member.name for member in self.members)

    @property
    def models(self) -> tuple[FoldModel, ...]:
        return tuple(model for member in self.members for model in member.models)

    @property
    def identity(self) -> str:
        """A digest of the weights and of how they predict: two predictors of one identity make the same masks."""
        members = [(member, member.previous) for member in self.members]
        weights = [model.digest for pair in members for member in pair if member is not None for model in member.models]
        first = self.members[0]
        how = str((first.mirroring, first.skip_background))
        more = [] if self.adaptation is None else [self.adaptation.model_dump_json()]
        more += [self.modality] if self.modality else []
        return combined_digest([*weights, self.postprocessing.model_dump_json(), how, *more])

    @property
    def runtime(self) -> Runtime:
        return self.members[0].runtime

    def find(self, source: str | Path | DicomInput, table: str | Path | None = None) -> CasesToPredict:
        """The cases of a folder, or the one of a file, and what is known of them beside the images; of a folder of DICOM one
        per study.

        `table` is a file; without it the table that training used is looked for beside the images, under its own name.
        Whatever is not found is missing, which a model that was trained with conditions can do without. It cannot do without
        the modality of a case, where a channel has several: cases of which nobody says it are left out.
        """
        path, beside = Path(source), None if table is None else Path(table)
        folder = path if is_folder(path) else path.parent
        plan = self.plan
        if isinstance(source, DicomInput) or holds_dicom(path):
            study = source if isinstance(source, DicomInput) else DicomInput(path)
            scanned = scan_studies(study, plan.channels, plan.channel_numbers)
        else:
            scanned = scan_cases(path, plan.channels, plan.file_ending, plan.channel_numbers, plan.grid_number)
        for warning in scanned.warnings:
            logger.warning("%s", warning)
        known_files = files_with_modalities(scanned.cases, self.plan, folder=folder, table=beside,
                                            said=self.modality)
        files, left_out = known_files.cases, (*scanned.faults, *known_files.faults)
        conditioned = [member for member in self.members if member.uses_conditions]
        if not conditioned:
            for_outcomes = any(member.folder is not None and member.folder.fitted_outcomes() for member in self.members)
            if table is not None and not self.plan.modality_columns and not for_outcomes:
                logger.warning("%s is not read: nothing but images conditions this model", table)
            return CasesToPredict(files, {}, left_out)
        known = read_conditions_to_predict(folder, self.plan.conditions, [case.name for case in files],
                                           table_path=beside)
        for warning in known.warnings:
            logger.warning("%s", warning)
        encoders = [model.encoder for member in conditioned for model in member.models if model.encoder is not None]
        return CasesToPredict(files, conditions_with_modality(known.cases, self.plan, encoders, self.modality),
                              left_out)

    def load(self, files: CaseFiles, conditions: Mapping[str, CaseConditions]) -> Case:
        """A case on its reference channel's grid; channels that training registered are registered."""
        transforms = None
        if any(channel.is_registered for channel in self.plan.channels):
            from autoseg.preprocessing.registration import register_case  # and with it SimpleITK

            transforms = {channel: result.transform
                          for channel, result in register_case(files, self.plan.channels).items()}
        case = load_case(files, self.plan.channels, transforms=transforms)
        doubt = orientation_doubt(case.name, case.geometry, self.plan.orientation)
        for warning in (*case_warnings(files, self.plan.channels), *doubt):
            logger.warning("%s", warning)
        return replace(case, conditions=conditions.get(files.name, CaseConditions()))

    def ready(self, case: Case) -> ReadyCase:
        """The case as far as it can be made ready without a model. What one model alone will see is prepared, and the
        voxels of the file are freed.
        """
        check_arrays(case, self.plan)
        member = self.members[0]
        if len(self.members) > 1 or member.previous is not None:
            return ReadyCase(case)
        return ReadyCase(replace(case, image_CDHW=_NO_VOXELS, absent_CDHW=None), member.prepare(case))

    def seen_by(self, member: ConfigurationModel, case: Case) -> Case:
        """The case with the channels that a member takes, in its order."""
        numbers = self.plan.numbers
        return case.of_channels([numbers.index(number) for number in member.plan.numbers])

    def _predicting(self, case: Case) -> list[tuple[ConfigurationModel, Case]]:
        """The members with the case as each sees it; one of which the case has no channel at all is left out."""
        seen = [(member, self.seen_by(member, case)) for member in self.members]
        known = [(member, part) for member, part in seen if part.present_C.any()]
        if len(known) < len(seen):
            logger.warning("%s: predicted by %d of %d models, since it has no image for the others", case.name, len(known),
                           len(seen))
        return known

    def bytes_to_read(self, files: CaseFiles) -> int:
        """Memory that reading and preparing a case needs, from its headers: of each voxel the float32 that is read, the one
        that is checked and put in its channel, and the one that is normalised.
        """
        return sum(12 * header.n_channels * math.prod(header.geometry.shape)
                   for header in (read_header(files.source(path)) for path in files.images if path is not None))

    def bytes_to_predict(self, files: CaseFiles, *, all_heads: bool = False) -> int:
        """Memory that predicting a prepared case needs beside the image and the network, from its header; with `all_heads`
        for probabilities or uncertainty too.
        """
        geometry = next(read_header(files.source(path)).geometry for path in (files.grid, *files.images) if path is not None)
        n_voxels = math.prod(geometry.shape)
        bytes_of_heads = 2 * self.plan.labels.n_heads * n_voxels if all_heads or len(self.members) > 1 else 0
        return bytes_of_heads + max(member.bytes_to_predict(geometry) for member in self.members)

    def predict_file(self, path: str | Path, probabilities: bool = False, *, table: str | Path | None = None) -> Prediction:
        """The segmentation of the one case that a file, or a folder with its channels, holds. `table` is as in `find`."""
        cases = self.find(path, table)
        raise_faults(path, cases.left_out)
        if len(cases.files) != 1:
            raise UserError("one case was expected", where=path, found=f"{len(cases.files)} cases")
        return self.predict(self.load(cases.files[0], cases.conditions), probabilities)

    def predict(self, case: Case, probabilities: bool = False, uncertainty: bool = False) -> Prediction:
        """As `predict_ready`. Raises UserError where the case's arrays are not what the model takes."""
        check_arrays(case, self.plan)
        return self.predict_ready(ReadyCase(case), probabilities, uncertainty)

    def predict_ready(self, ready: ReadyCase, probabilities: bool = False, uncertainty: bool = False) -> Prediction:
        """The segmentation of a case on its own grid, postprocessed, with its quality where that is known.

        `uncertainty` adds the entropy and the disagreement of the models. Of several configurations one array of all heads
        is held on the file's grid, as float16; for `uncertainty` another.
        """
        case, labels = ready.case, self.plan.labels
        votes = None
        predicting = self._predicting(case) if len(self.members) > 1 else []
        n_models = sum(len(member.models) for member, _ in predicting) or len(self.models)
        if uncertainty or self.quality_control is not None:
            temperature = 1.0 if self.quality_control is None else self.quality_control.temperature
            votes = Votes(labels, case.geometry.shape, n_models, temperature, uncertainty)
        if len(self.members) == 1:
            label, probabilities_KDHW = _predict_alone(self.members[0], ready, probabilities, votes)
        else:
            probabilities_KDHW = _mean_probabilities(predicting, votes)
            label = decided(probabilities_KDHW, labels)
        label = apply(self.postprocessing, label, labels, case.geometry)
        quality = None if votes is None else votes.quality(case.name, self.quality_control)
        entropy, disagreement = votes.images() if votes is not None and uncertainty else (None, None)
        return Prediction(case, label, probabilities_KDHW if probabilities else None, quality, entropy, disagreement)


def _logits(member: ConfigurationModel, prepared: PreparedCase, case: Case, votes: Votes | None) -> torch.Tensor:
    """Mean logits of a member; where votes are asked for, model by model, which costs one resampling each."""
    if votes is None:
        return member.logits(prepared, case)
    total: torch.Tensor | None = None
    for model in member.models:
        logits = member.logits(prepared, case, [model])
        votes.add(probability_slabs(logits, prepared, member.plan, member.configuration))
        logits.div_(len(member.models))  # before they are added: half precision has a largest value
        # Where the device was too small for one of them, its logits are in the host's memory.
        total = logits if total is None else _sum(total, logits)
    if total is None:
        raise ValueError(f"{member.name} has no model")
    return total


def _sum(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """a + b, on the CPU where one of them lies there."""
    device = a.device if a.device == b.device else torch.device("cpu")
    return a.to(device).add_(b.to(device))


def _predict_alone(member: ConfigurationModel, ready: ReadyCase, probabilities: bool, votes: Votes | None
                   ) -> tuple[np.ndarray, np.ndarray | None]:
    """The label map of one configuration and, where they are asked for, its probabilities."""
    prepared = ready.take() or member.prepare_all(ready.case)
    logits = _logits(member, prepared, ready.case, votes)
    prepared = replace(prepared, image_CDHW=_NO_VOXELS, absent_CDHW=None)  # export needs the memory
    arguments = (logits, prepared, member.plan, member.configuration)
    return restore_label(*arguments), restore_probabilities(*arguments) if probabilities else None


def _mean_probabilities(members: Sequence[tuple[ConfigurationModel, Case]], votes: Votes | None) -> np.ndarray:
    """Mean probabilities (K, z, y, x; float16) of several configurations on the file's grid, each with the case as it sees
    it.
    """
    labels, share = members[0][0].plan.labels, 1 / len(members)
    mean_KDHW = np.zeros((labels.n_heads, *members[0][1].geometry.shape), np.float16)
    for member, case in members:
        prepared = member.prepare_all(case)
        logits = _logits(member, prepared, case, votes)
        for window, slab in probability_slabs(logits, prepared, member.plan, member.configuration):
            mean_KDHW[(slice(None), *window)] += (slab * share).astype(np.float16)
        if not labels.has_regions:
            make_certain_outside(mean_KDHW[0], prepared, share)
    return mean_KDHW
