"""Explanations of a trained fold: which fold, where they are written, and how maps are drawn."""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.command import called
from autoseg.explain.explanations import Explanations
from autoseg.explain.run import Settings, explain_folder, open_fold
from autoseg.prediction.models import choose_model, trained_model
from autoseg.reporting.heat import draw_map
from autoseg.workspace.folders import ModelFolder
from autoseg.workspace.names import Workspace


@dataclass(frozen=True)
class ExplainedModel:
    """The fold that is explained: the model of a folder, or the one of the workspace that these names leave, and of it the
    fold of this name, or the first that is finished.
    """

    dataset: str | None = None
    configuration: str | None = None
    planner: str | None = None
    fold: str | None = None
    folder: Path | None = None

    def opened(self, home: str | Path | None) -> ModelFolder:
        if self.folder is not None:
            return trained_model(ModelFolder(self.folder.resolve()))  # its name is that of the configuration
        return choose_model(Workspace.open(home), self.dataset, self.configuration, self.planner)


@called
def explain(source: str | Path, target: str | Path | None = None, *, model: ExplainedModel | None = None,
            settings: Settings | None = None, labels: str | Path | None = None, cases: Collection[str] = (),
            table: str | Path | None = None, modality: str = "", home: str | Path | None = None, device: str = "auto"
            ) -> tuple[Path, Explanations]:
    """Explain the cases of a folder or file, or those named; the folder of the results, and what is known there.

    The folder is `target`, by default `explanations/` of the fold, where the report finds them. `labels` is a folder of true
    labels. Raises what `explain_folder` raises.
    """
    model, settings = model or ExplainedModel(), settings or Settings()
    trained = model.opened(home)
    predictor, fold = open_fold(trained, model.fold, device, modality)
    if target is None:
        trained.fold(fold).refuse_links()
    folder = trained.fold(fold).explanations if target is None else Path(target)
    about = Explanations(dataset=trained.dataset, planner=trained.planner, configuration=trained.configuration, fold=fold,
                         models=predictor.models[0].digest, seed=settings.seed, samples=settings.samples,
                         draws=settings.draws)
    explanations = explain_folder(predictor, Path(source), folder, about, settings, draw_map,
                                  truths=None if labels is None else Path(labels), cases=cases,
                                  table=None if table is None else Path(table))
    return folder, explanations
