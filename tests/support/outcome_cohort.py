"""A workspace with a segmentation that nobody trained, whose patients with larger balls die earlier."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from autoseg.formats import write_array, write_label
from autoseg.grids.geometry import Geometry
from autoseg.nn.model import build_model
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import write_json, write_text
from autoseg.workspace.names import Workspace
from planners.schema.labels import LabelSpec
from tests_support import small_plan

DATASET = "Dataset001_Balls"
SHAPE = (18, 16, 16)
GEOMETRY = Geometry(SHAPE, (1.0, 1.0, 1.0))
BALL = LabelSpec(names={"background": (0,), "ball": (1,)})
OUTCOMES = {"os": {"kind": "survival", "time": "months", "event": "dead"},
            "response": {"kind": "category", "column": "CR"},
            "change": {"kind": "number", "column": "growth"}}


@dataclass(frozen=True)
class Cohort:
    """A workspace of `n_cases` patients; case i belongs to fold i % `n_folds`."""

    home: Path
    n_cases: int
    n_folds: int

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.home)

    @property
    def model(self):
        return self.workspace.model(DATASET, "budgeted", "3d_fullres")


def ball_of(radius: float) -> np.ndarray:
    distance = np.sqrt(sum((axis - 7.5) ** 2 for axis in np.indices(SHAPE)))
    return (distance < radius).astype(np.int16)


def radius_of(index: int) -> float:
    return 3.0 + 4.0 * ((index * 7) % 23) / 23


def write_cohort(home: Path, n_cases: int = 24, n_folds: int = 3) -> Cohort:
    cohort, raw, rng = Cohort(home, n_cases, n_folds), home / "raw" / DATASET, np.random.default_rng(0)
    write_json(raw / "dataset.json", {
        "channel_names": {"0": "MR"}, "labels": {"background": 0, "ball": 1}, "numTraining": n_cases,
        "file_ending": ".nii.gz", "outcomes": OUTCOMES,
        "conditions": {"table": "clinical.csv", "columns": {"age": {"kind": "number"}, "sex": {"kind": "category"}}}})
    names, rows = [f"case_{index:02}" for index in range(n_cases)], ["case,age,sex,months,dead,CR,growth"]
    for index, name in enumerate(names):
        label, radius = ball_of(radius_of(index)), radius_of(index)
        image = rng.normal(0, 0.3, SHAPE) + label * (1 + radius / 5)
        write_array(raw / "imagesTr" / f"{name}_0000.nii.gz", image[None].astype(np.float32), GEOMETRY)
        write_label(raw / "labelsTr" / f"{name}.nii.gz", label, GEOMETRY)
        write_label(cohort.model.fold(index % n_folds).validation / f"{name}.nii.gz", label, GEOMETRY)
        rows.append(f"{name},{50 + int(rng.integers(20))},{'fm'[int(rng.integers(2))]},"
                    f"{40 - 5 * radius + rng.uniform(0, 2):.2f},{int(index % 4 > 0)},{'yes' if radius < 5 else 'no'},"
                    f"{radius * 10 + rng.normal():.2f}")
    write_text(raw / "clinical.csv", "\n".join(rows) + "\n")
    plan = small_plan(labels=BALL).model_copy(update={"dataset": DATASET})
    write_json(cohort.model.plan, plan)
    write_json(cohort.model.splits, [{"train": [n for i, n in enumerate(names) if i % n_folds != fold],
                                      "validation": names[fold::n_folds]} for fold in range(n_folds)])
    for fold in range(n_folds):
        torch.manual_seed(fold)
        network = build_model(plan, plan.configurations["3d_fullres"])
        save_weights(cohort.model.fold(fold).checkpoint, network.state_dict(), {})
        write_json(cohort.model.fold(fold).result, {"mean_dice": 0.9})
    return cohort
