"""A trained model that stays in memory and predicts case after case."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from autoseg.base.errors import UserError
from autoseg.base.parts import check_part
from autoseg.base.runtime import Runtime, open_runtime
from autoseg.clinical.conditions import CaseConditions, read_conditions_to_predict
from autoseg.datasets.case import Case, CaseFiles, PreparedCase
from autoseg.datasets.raw import find_cases, load_case
from autoseg.formats.files import is_folder
from autoseg.grids.geometry import Geometry
from autoseg.grids.resize import target_shape, target_spacing
from autoseg.nn.conditioning import CONDITIONERS
from autoseg.prediction.export import restore_label, restore_probabilities
from autoseg.prediction.memory_plan import PredictionMemory, bytes_of_logits, compact
from autoseg.prediction.models import FoldModel, choose_model, load_model, trained_model
from autoseg.prediction.prepared import predict_prepared
from autoseg.prediction.uncertainty import CaseQuality
from autoseg.preprocessing.cascade import with_previous
from autoseg.preprocessing.normalize import NORMALIZERS
from autoseg.preprocessing.prepare import prepare
from autoseg.workspace.folders import ModelFolder
from autoseg.workspace.names import Workspace
from planners.schema.plan import Configuration, Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """A case's labels (z, y, x) on the file's grid; the others where they were asked for: probabilities (K, z, y, x),
    what the models say of the case as a whole, their entropy and their disagreement (z, y, x).
    """

    case: Case
    label_DHW: np.ndarray
    probabilities_KDHW: np.ndarray | None = None
    quality: CaseQuality | None = None
    entropy_DHW: np.ndarray | None = None
    disagreement_DHW: np.ndarray | None = None


@dataclass(frozen=True)
class CasesToPredict:
    """The files of some cases, and by name what is known of them beside the images."""

    files: tuple[CaseFiles, ...]
    conditions: Mapping[str, CaseConditions]


def only_case(found: CasesToPredict, path: str | Path) -> tuple[CaseFiles, Mapping[str, CaseConditions]]:
    """The one case that was found, and what is known beside the images; a UserError where there are more."""
    if len(found.files) != 1:
        raise UserError("one case was expected", where=path, found=f"{len(found.files)} cases")
    return found.files[0], found.conditions


class Predictor:
    """An ensemble of folds. Open one with `Predictor.open(...)`; it never trains.

    >>> predictor = Predictor.open(dataset=4)
    >>> prediction = predictor.predict_file("case_0000.nii.gz")
    >>> prediction.label_DHW.shape
    """

    def __init__(self, plan: Plan, name: str, models: Sequence[FoldModel], runtime: Runtime, *,
                 previous: "Predictor | None" = None, mirroring: bool = True, skip_background: bool = False):
        self.plan, self.name, self.models, self.runtime = plan, name, tuple(models), runtime
        self.previous, self.mirroring, self.skip_background = previous, mirroring, skip_background
        self._room = PredictionMemory()

    @property
    def configuration(self) -> Configuration:
        return self.plan.configurations[self.name]

    @property
    def uses_conditions(self) -> bool:
        """Whether anything but images conditions it, or the earlier stage of a cascade."""
        return (CONDITIONERS.traits(self.configuration.conditioning.name).reads_conditions
                or (self.previous is not None and self.previous.uses_conditions))

    @classmethod
    def open(cls, *, dataset: str | int | None = None, configuration: str | None = None, planner: str | None = None,
             folds: Sequence[int | str] | None = None, folder: str | Path | None = None,
             home: str | Path | None = None, device: str = "auto", mirroring: bool = True,
             skip_background: bool = False) -> "Predictor":
        """The model of a folder, or of the workspace: the only dataset, the best configuration, all finished folds.

        With `skip_background`, tiles that a coarse look shows to be background are not predicted again (`predict.collect`);
        a structure that this look misses is missed. A cascade opens its earlier stage from the folder beside it. Raises
        UserError where the choice is not clear.
        """
        if folder is not None:
            chosen = trained_model(ModelFolder(Path(folder).resolve()))  # its name is that of the configuration
        else:
            name = None if dataset is None else str(dataset)
            chosen = choose_model(Workspace.open(home), name, configuration, planner)
        return cls._of(chosen, folds, open_runtime(device), mirroring=mirroring, skip_background=skip_background)

    @classmethod
    def _of(cls, chosen: ModelFolder, folds: Sequence[int | str] | None, runtime: Runtime, **how: bool
            ) -> "Predictor":
        plan = chosen.read_plan()
        if chosen.configuration not in plan.configurations:
            raise UserError("the folder of a model bears the name of its configuration", where=chosen.path,
                            expected=", ".join(plan.configurations), do="give the folder its name back")
        wanted = tuple(map(str, folds)) if folds else chosen.folds
        for fold in wanted:
            if not chosen.fold(fold).is_finished:
                raise UserError(f"fold {fold} is not trained", where=chosen.path, found="fold " + ", ".join(chosen.folds),
                                do=f"train it: autoseg_train {chosen.dataset} {chosen.configuration} {fold}")
        configuration = plan.configurations[chosen.configuration]
        for part in configuration.normalizers:
            check_part(NORMALIZERS, part, f"{chosen.dataset} {chosen.configuration}")
        models = [load_model(plan, configuration, chosen.fold(fold).checkpoint, runtime) for fold in wanted]
        previous = None
        if configuration.previous:
            before = trained_model(chosen.beside(configuration.previous))
            previous = cls._of(before, None, runtime, **how)
        logger.info("%s %s (%s), fold %s on %s", chosen.dataset, chosen.configuration, chosen.planner,
                    ", ".join(wanted), runtime.device)
        return cls(plan, chosen.configuration, models, runtime, previous=previous, **how)

    def predict(self, case: Case, probabilities: bool = False) -> Prediction:
        """The segmentation of a case, on its own grid."""
        prepared = self.prepared(case)
        logits = self.logits(prepared, case)
        label = restore_label(logits, prepared, self.plan, self.configuration)
        soft = restore_probabilities(logits, prepared, self.plan, self.configuration) if probabilities else None
        return Prediction(case, label, soft)

    def bytes_to_predict(self, geometry: Geometry) -> int:
        """Memory that the logits of a case on this grid need, and their export."""
        shape, from_mm = (tuple(of[axis] for axis in self.plan.transpose) for of in (geometry.shape, geometry.spacing_mm))
        depth = self.configuration.patch[0] if self.configuration.dimensions == 3 else 1
        return bytes_of_logits(self.plan.labels.n_heads,
                               target_shape(shape, from_mm, target_spacing(self.configuration, from_mm)), depth,
                               exact=self.skip_background)

    def prepare(self, case: Case) -> PreparedCase:
        """The case transposed, cropped, normalised and resampled, which no model is needed for."""
        return compact(prepare(case, self.plan, self.configuration, self.runtime.device))

    def prepared(self, case: Case) -> PreparedCase:
        """The case as the models see it, with the earlier stage's prediction where the plan is a cascade's."""
        prepared = self.prepare(case)
        if self.previous is None:
            return prepared
        return with_previous(prepared, self.previous.predict(case).label_DHW, self.configuration)

    def logits(self, prepared: PreparedCase, case: Case, models: Sequence[FoldModel] | None = None) -> torch.Tensor:
        """Mean logits (K, D, H, W) of all models, or of some, on the grid of the prepared case."""
        return predict_prepared(models or self.models, prepared, self.plan, self.configuration, self.runtime,
                                mirroring=self.mirroring, skip_background=self.skip_background, conditions=case.conditions,
                                memory=self._room)

    def predict_file(self, path: str | Path, probabilities: bool = False, *, table: str | Path | None = None) -> Prediction:
        """The segmentation of the one case that a file, or a folder with its channels, holds.

        `table` is as in `find`.
        """
        return self.predict(self.load(*only_case(self.find(path, table), path)), probabilities)

    def find(self, path: str | Path, table: str | Path | None = None) -> "CasesToPredict":
        """The cases of a folder, or the one of a file, and what is known of them beside the images.

        `table` is a file; without it the table that training used is looked for beside the images, under its own name.
        Whatever is not found is missing, which a model that was trained with conditions can do without.
        """
        path = Path(path)
        files = find_cases(path, self.plan.channels, self.plan.file_ending)
        if not self.uses_conditions:
            if table is not None:
                logger.warning("%s is not read: nothing but images conditions this model", table)
            return CasesToPredict(files, {})
        folder = path if is_folder(path) else path.parent
        known = read_conditions_to_predict(folder, self.plan.conditions, [case.name for case in files],
                                           table_path=None if table is None else Path(table))
        for warning in known.warnings:
            logger.warning("%s", warning)
        return CasesToPredict(files, known.cases)

    def load(self, files: CaseFiles, conditions: Mapping[str, CaseConditions]) -> Case:
        """A case on its reference channel's grid; channels that training registered are registered."""
        transforms = None
        if any(channel.is_registered for channel in self.plan.channels):
            from autoseg.preprocessing.registration import register_case  # and with it SimpleITK

            transforms = {channel: found.transform for channel, found in register_case(files, self.plan.channels).items()}
        case = load_case(files, self.plan.channels, transforms=transforms)
        return replace(case, conditions=conditions.get(files.name, CaseConditions()))
