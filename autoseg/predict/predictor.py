"""A trained model that stays in memory and predicts case after case."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError
from autoseg.base.parts import check_part
from autoseg.base.runtime import Runtime, open_runtime
from autoseg.base.workspace import Workspace
from autoseg.data.case import Case
from autoseg.data.raw import find_cases, load_case
from autoseg.nn.model import Model
from autoseg.predict.export import restore_label, restore_probabilities
from autoseg.predict.models import TrainedModel, choose_model, load_model, trained_model
from autoseg.predict.prepared import predict_prepared
from autoseg.preprocess.cascade import with_previous
from autoseg.preprocess.normalize import NORMALIZERS
from autoseg.preprocess.prepare import prepare
from planners.plan import Configuration, Plan

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Prediction:
    """A case's labels (z, y, x) on the file's grid, and its probabilities (K, z, y, x) where they were asked for."""

    case: Case
    label_DHW: np.ndarray
    probabilities_KDHW: np.ndarray | None = None


class Predictor:
    """An ensemble of folds. Open one with `Predictor.open(...)`; it never trains.

    >>> predictor = Predictor.open(dataset=4)
    >>> prediction = predictor.predict_file("case_0000.nii.gz")
    >>> prediction.label_DHW.shape
    """

    def __init__(self, plan: Plan, name: str, models: Sequence[Model], runtime: Runtime, *,
                 previous: "Predictor | None" = None, mirroring: bool = True):
        self.plan, self.name, self.models, self.runtime = plan, name, tuple(models), runtime
        self.previous, self.mirroring = previous, mirroring

    @property
    def configuration(self) -> Configuration:
        return self.plan.configurations[self.name]

    @classmethod
    def open(cls, *, dataset: str | int | None = None, configuration: str | None = None, planner: str | None = None,
             folds: Sequence[int | str] | None = None, folder: str | Path | None = None,
             home: str | Path | None = None, device: str = "auto", mirroring: bool = True) -> "Predictor":
        """The model of a folder, or of the workspace: the only dataset, the best configuration, all finished folds.

        A cascade opens its earlier stage from the folder beside it. Raises UserError where the choice is not clear.
        """
        if folder is not None:
            chosen = trained_model(Path(folder).resolve())  # its name is that of the configuration
        else:
            name = None if dataset is None else str(dataset)
            chosen = choose_model(Workspace.open(home), name, configuration, planner)
        return cls._of(chosen, folds, open_runtime(device), mirroring)

    @classmethod
    def _of(cls, chosen: TrainedModel, folds: Sequence[int | str] | None, runtime: Runtime, mirroring: bool
            ) -> "Predictor":
        plan = chosen.read_plan()
        if chosen.configuration not in plan.configurations:
            raise UserError("the folder of a model bears the name of its configuration", where=chosen.folder,
                            expected=", ".join(plan.configurations), do="give the folder its name back")
        wanted = tuple(map(str, folds)) if folds else chosen.folds
        for fold in wanted:
            if not chosen.fold(fold).result.is_file():
                raise UserError(f"fold {fold} is not trained", where=chosen.folder, found="fold " + ", ".join(chosen.folds),
                                do=f"train it: autoseg_train {chosen.dataset} {chosen.configuration} {fold}")
        configuration = plan.configurations[chosen.configuration]
        for part in configuration.normalizers:
            check_part(NORMALIZERS, part, f"{chosen.dataset} {chosen.configuration}")
        models = [load_model(plan, configuration, chosen.fold(fold).checkpoint, runtime) for fold in wanted]
        previous = None
        if configuration.previous:
            before = trained_model(chosen.folder.with_name(configuration.previous))
            previous = cls._of(before, None, runtime, mirroring)
        logger.info("%s %s (%s), fold %s on %s", chosen.dataset, chosen.configuration, chosen.planner,
                    ", ".join(wanted), runtime.device)
        return cls(plan, chosen.configuration, models, runtime, previous=previous, mirroring=mirroring)

    def predict(self, case: Case, probabilities: bool = False) -> Prediction:
        """The segmentation of a case, on its own grid."""
        prepared = prepare(case, self.plan, self.configuration, self.runtime.device)
        if self.previous is not None:
            prepared = with_previous(prepared, self.previous.predict(case).label_DHW, self.configuration)
        logits = predict_prepared(self.models, prepared, self.plan, self.configuration, self.runtime,
                                  mirroring=self.mirroring)
        label = restore_label(logits, prepared, self.plan, self.configuration)
        soft = restore_probabilities(logits, prepared, self.plan, self.configuration) if probabilities else None
        return Prediction(case, label, soft)

    def predict_file(self, path: str | Path, probabilities: bool = False) -> Prediction:
        """The segmentation of the one case that a file, or a folder with its channels, holds."""
        files = find_cases(Path(path), self.plan.channels, self.plan.file_ending)
        if len(files) != 1:
            raise UserError("one case was expected", where=path, found=f"{len(files)} cases")
        return self.predict(load_case(files[0], self.plan.channels), probabilities)
