"""One configuration of a predictor: the folds of one trained model, whose logits are averaged."""

import copy
import logging
from collections.abc import Sequence

import numpy as np
import torch

from autoseg.base.errors import UserError
from autoseg.base.parts import check_part
from autoseg.base.progress import inner_bar
from autoseg.base.runtime import Runtime, open_runtime
from autoseg.datasets.case import Case, PreparedCase
from autoseg.datasets.preprocessors import check_preprocessor
from autoseg.formats.files import digest
from autoseg.grids.geometry import Geometry
from autoseg.grids.resize import target_shape, target_spacing
from autoseg.nn.conditioning import CONDITIONERS
from autoseg.prediction.export import restore_label
from autoseg.prediction.inference_settings import Adaptation, FoldPostprocessing, Postprocessing
from autoseg.prediction.memory_plan import PredictionMemory, bytes_of_logits, compact
from autoseg.prediction.models import FoldModel, check_weights, load_model, train_command, trained_model
from autoseg.prediction.prepared import image_of, predict_prepared
from autoseg.prediction.trained_with import check_same_data
from autoseg.prediction.watch import Watch
from autoseg.preprocessing.cascade import with_previous
from autoseg.preprocessing.normalize import NORMALIZERS
from autoseg.preprocessing.prepare import axes_of, prepare
from autoseg.workspace.files import read_model
from autoseg.workspace.folders import ModelFolder
from planners.schema.plan import Configuration, Plan

logger = logging.getLogger(__name__)

LONG_CASE = 50  # forward passes of single tiles, from which a case has a progress bar of its own


class ConfigurationModel:
    """The folds of one configuration, and of a cascade its earlier stage. A `Predictor` has one or several."""

    def __init__(self, plan: Plan, name: str, models: Sequence[FoldModel], runtime: Runtime, *,
                 previous: "ConfigurationModel | None" = None, mirroring: bool = True, skip_background: bool = False,
                 postprocessing: Postprocessing | None = None, folder: ModelFolder | None = None,
                 folds: Sequence[str] = ()):
        self.folder, self.folds = folder, tuple(folds)  # None: it was made in memory
        self.plan, self.name, self.models, self.runtime = plan, name, tuple(models), runtime
        self.previous, self.mirroring, self.skip_background = previous, mirroring, skip_background
        self.postprocessing = postprocessing or Postprocessing()  # of the only fold; that of several is in inference.json
        self.adaptation: Adaptation | None = None
        self._memory = PredictionMemory()

    def adapting(self, adaptation: Adaptation) -> "ConfigurationModel":
        """The same models, of which a copy is adapted to each case before it is predicted, without mirroring. The earlier
        stage of a cascade stays as it is.
        """
        other = copy.copy(self)
        other.adaptation, other.mirroring = adaptation, False
        return other

    @classmethod
    def open(cls, trained: ModelFolder, *, folds: Sequence[int | str] | None = None, device: str = "auto",
             mirroring: bool = True, skip_background: bool = False) -> "ConfigurationModel":
        """The folds of a trained model, by default all that are finished. A cascade opens its earlier stage from the folder
        beside it. Raises UserError where a fold is not trained, or does not fit the plan.
        """
        return cls._load(trained, folds, open_runtime(device), mirroring=mirroring, skip_background=skip_background)

    @classmethod
    def _load(cls, trained: ModelFolder, folds: Sequence[int | str] | None, runtime: Runtime, *, mirroring: bool,
              skip_background: bool) -> "ConfigurationModel":
        plan = trained.read_plan()
        if trained.configuration not in plan.configurations:
            raise UserError("the folder of a model bears the name of its configuration", where=trained.path,
                            expected=", ".join(plan.configurations), do="give the folder its name back")
        wanted = tuple(map(str, folds)) if folds else trained.folds
        if not folds and trained.folds_left_out:
            logger.warning("%s: fold %s is finished, but does not predict beside the others; name it with -f to use it",
                           trained.path, ", ".join(trained.folds_left_out))
        for fold in wanted:
            if not trained.fold(fold).is_finished:
                raise UserError(f"fold {fold} is not trained", where=trained.path,
                                found="fold " + ", ".join(trained.folds),
                                do=f"train it: {train_command(trained, fold)}")
        check_weights(trained, wanted)
        configuration = plan.configurations[trained.configuration]
        for part in configuration.normalizers:
            check_part(NORMALIZERS, part, f"{trained.dataset} {trained.configuration}")
        check_preprocessor(configuration.preprocess, plan.channels, f"{trained.dataset} {trained.configuration}")
        models = [load_model(plan, configuration, trained.fold(fold).checkpoint, runtime) for fold in wanted]
        check_same_data({fold: model.trained_with for fold, model in zip(wanted, models, strict=True)}, trained.path)
        previous = None
        if configuration.previous:
            previous = cls._load(trained_model(trained.beside(configuration.previous)), None, runtime,
                                 mirroring=mirroring, skip_background=skip_background)
        logger.info("%s %s (%s), fold %s on %s", trained.dataset, trained.configuration, trained.planner,
                    ", ".join(wanted), runtime.device)
        return cls(plan, trained.configuration, models, runtime, previous=previous, mirroring=mirroring,
                   skip_background=skip_background, postprocessing=postprocessing_alone(trained, wanted), folder=trained,
                   folds=wanted)

    @property
    def configuration(self) -> Configuration:
        return self.plan.configurations[self.name]

    @property
    def uses_conditions(self) -> bool:
        """Whether anything but images conditions it, or the earlier stage of a cascade."""
        return (CONDITIONERS.traits(self.configuration.conditioning.name).reads_conditions
                or (self.previous is not None and self.previous.uses_conditions))

    def bytes_to_predict(self, geometry: Geometry) -> int:
        """Memory that the logits of a case on this grid need, and their export."""
        axes = axes_of(geometry, self.plan)
        shape, from_mm = axes.of_each(geometry.shape), axes.of_each(geometry.spacing_mm)
        depth = self.configuration.patch[0] if self.configuration.dimensions == 3 else 1
        return bytes_of_logits(self.plan.labels.n_heads,
                               target_shape(shape, from_mm, target_spacing(self.configuration, from_mm)), depth,
                               exact=self.skip_background)

    def prepare(self, case: Case) -> PreparedCase:
        """The case transposed, cropped, normalised and resampled. This needs no model. Raises UserError for a flat image
        where the model takes volumes.
        """
        if case.geometry.dimensions == 2 and self.configuration.dimensions == 3:
            raise UserError("the image is flat, and the model takes volumes", where=f"case {case.name}",
                            found=f"shape {case.geometry.shape[1:]}", expected="a volume, such as the training images")
        return compact(prepare(case, self.plan, self.configuration, self.runtime.device))

    def prepare_all(self, case: Case, watch: Watch | None = None) -> PreparedCase:
        """The case as the models see it: where the plan is a cascade's, with the earlier stage's prediction."""
        prepared = self.prepare(case)
        if self.previous is None:
            return prepared
        return with_previous(prepared, self.previous.predict_label(case, watch), self.configuration)

    def logits(self, prepared: PreparedCase, case: Case, models: Sequence[FoldModel] | None = None,
               watch: Watch | None = None) -> torch.Tensor:
        """Mean logits (K, D, H, W) of all models, or of some, on the grid of the prepared case: a stage of the `watch`."""
        models = models or self.models
        if self.adaptation is not None:
            models = self._adapted(models, prepared, case)
        bar = inner_bar(f"{case.name}, {self.name}", "tile", LONG_CASE)
        with bar as show, (watch or Watch()).stage() as count:

            def progress(done: int, total: int) -> None:
                show(done, total)
                count(done, total)

            return predict_prepared(models, prepared, self.plan, self.configuration, self.runtime,
                                    mirroring=self.mirroring, skip_background=self.skip_background,
                                    conditions=case.conditions, memory=self._memory, progress=progress)

    def _adapted(self, models: Sequence[FoldModel], prepared: PreparedCase, case: Case) -> Sequence[FoldModel]:
        from autoseg.prediction.adapt import CaseToAdapt, adapted  # an experiment, which few load

        assert self.adaptation is not None
        absent = None if prepared.absent_CDHW is None else np.asarray(prepared.absent_CDHW[:], bool)
        image = image_of(prepared, self.plan, self.configuration)
        seen = CaseToAdapt(case.name, image, np.asarray(prepared.present_C, bool), absent)
        encoded = [model.encoded(case.conditions) for model in models]
        return adapted(models, encoded, seen, self.configuration, self.runtime, self.adaptation,
                       regions=self.plan.labels.has_regions)

    def predict_label(self, case: Case, watch: Watch | None = None) -> np.ndarray:
        """The label map (z, y, x) of a case on its own grid."""
        prepared = self.prepare_all(case, watch)
        return restore_label(self.logits(prepared, case, watch=watch), prepared, self.plan, self.configuration)


def postprocessing_alone(trained: ModelFolder, folds: Sequence[str]) -> Postprocessing:
    """What was chosen for a fold that predicts alone; nothing for several folds, or for other weights."""
    folder = trained.fold(folds[0])
    if len(folds) > 1 or not folder.postprocessing.is_file():
        return Postprocessing()
    chosen = read_model(folder.postprocessing, FoldPostprocessing)
    if chosen.digest != digest(folder.checkpoint):
        logger.warning("%s is of other weights and is not used", folder.postprocessing)
        return Postprocessing()
    logger.info("postprocessing is as %s says", folder.postprocessing)
    return chosen.postprocessing
