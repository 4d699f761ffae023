"""Finished folds that nobody trained: balls whose predicted radius and softness a test chooses."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from autoseg.evaluation.score import score_case, summarize
from autoseg.formats import write_label
from autoseg.formats.probabilities import write_probabilities
from autoseg.grids.geometry import Geometry
from autoseg.prediction.decision import decided
from autoseg.training.validate import FoldResult
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import write_json
from autoseg.workspace.folders import FoldFolder
from autoseg.workspace.names import Workspace
from planners.schema.labels import LabelSpec
from planners.schema.plan import Plan
from tests_support import small_plan

DATASET = "Dataset001_Balls"
BALL = LabelSpec(names={"background": (0,), "ball": (1,)})
SHAPE = (12, 12, 12)
GEOMETRY = Geometry(SHAPE, (1.0, 1.0, 1.0))
RADIUS = 3.5
FOLDS = 5

Soft = Callable[[int], np.ndarray]  # of a case's number, its probabilities (K, z, y, x)


def distance(centre: tuple[float, float, float] = (5.5, 5.5, 5.5)) -> np.ndarray:
    return np.sqrt(sum((axis - c) ** 2 for axis, c in zip(np.indices(SHAPE), centre, strict=True)))


def truth(index: int = 0) -> np.ndarray:
    return (distance() < RADIUS).astype(np.uint8)


def ball(radius: float, softness: float = 0.1) -> np.ndarray:
    """Background and a ball whose border is as soft as is asked for [voxels]."""
    inside = 1 / (1 + np.exp(np.clip((distance() - radius) / softness, -50, 50)))
    return np.stack([1 - inside, inside]).astype(np.float32)


def name_of(index: int) -> str:
    return f"case_{index:02}"


def balls_plan(configuration: str = "3d_fullres", planner: str = "budgeted", **changes) -> Plan:
    plan = small_plan(labels=BALL, **changes)
    return plan.model_copy(update={"dataset": DATASET, "planner": planner,
                                   "configurations": {configuration: plan.configurations["3d_fullres"]}})


_WIDE = small_plan().configurations["3d_fullres"].architecture.model_copy(update={"features": (16, 32)})
LARGE = balls_plan("3d_large", architecture=_WIDE)  # costlier


def near(index: int) -> np.ndarray:
    """A ball that is a little too large or too small, more or less."""
    return ball(3.5 + (0.9, -0.5, 0.3)[index % 3] * (1 + index % 4) / 4, 0.2 + index % 3 / 4)


@dataclass(frozen=True)
class Balls:
    """A workspace whose cases are all the same ball; case i belongs to fold i % FOLDS."""

    workspace: Workspace
    n_cases: int

    def model(self, soft: Soft, plan: Plan | None = None, *, folds=range(FOLDS), probabilities: bool = True) -> None:
        """Finished folds of a configuration, as `soft` would have predicted."""
        plan = plan or balls_plan()
        (configuration,) = plan.configurations
        write_json(self.workspace.model(DATASET, plan.planner, configuration).plan, plan)
        for fold in folds:
            folder = self.workspace.fold(DATASET, plan.planner, configuration, fold)
            scores = []
            for index in range(fold, self.n_cases, FOLDS):
                name, predicted = name_of(index), soft(index)
                label = decided(predicted, BALL).astype(np.uint8)
                write_label(folder.validation / f"{name}.nii.gz", label, GEOMETRY)
                if probabilities:
                    write_probabilities(folder.probabilities(name), predicted, has_regions=False)
                scores.append(score_case(truth(index), label, BALL, GEOMETRY.spacing_mm, name))
            save_weights(folder.checkpoint, {"fold": torch.tensor([fold])}, {})
            self.result(folder, plan, fold, scores)

    def result(self, folder: FoldFolder, plan: Plan, fold: int, scores, unscored=()) -> None:
        (configuration,) = plan.configurations
        summary = summarize(scores, BALL)
        write_json(folder.result, FoldResult(
            dataset=DATASET, planner=plan.planner, configuration=configuration, fold=fold, seed=0,
            schedule=plan.configurations[configuration].schedule, training_seconds=1.0, total_seconds=1.0,
            mean_dice=summary.foreground_means["dice"].value, scores=summary, unscored=unscored))

    def fold(self, fold: int, configuration: str = "3d_fullres", planner: str = "budgeted") -> FoldFolder:
        return self.workspace.fold(DATASET, planner, configuration, fold)


def write_balls(home, n_cases: int = 10) -> Balls:
    """A raw dataset of balls with its splits, and no model."""
    workspace = Workspace(home)
    raw = home / "raw" / DATASET
    write_json(raw / "dataset.json", {"channel_names": {"0": "MR"}, "labels": {"background": 0, "ball": 1},
                                      "numTraining": n_cases, "file_ending": ".nii.gz"})
    names = [name_of(index) for index in range(n_cases)]
    for index, name in enumerate(names):
        write_label(raw / "imagesTr" / f"{name}_0000.nii.gz", truth(index), GEOMETRY)
        write_label(raw / "labelsTr" / f"{name}.nii.gz", truth(index), GEOMETRY)
    write_json(raw / "splits_final.json", [{"train": [n for i, n in enumerate(names) if i % FOLDS != fold],
                                            "val": names[fold::FOLDS]} for fold in range(FOLDS)])
    return Balls(workspace, n_cases)
