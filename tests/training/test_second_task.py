"""The training loop knows a task only by its protocol: another one than segmentation trains through the same loop."""

from dataclasses import dataclass

import torch
from torch import nn

from autoseg.base.runtime import Runtime
from autoseg.batches.loader import make_batches
from autoseg.preprocessing.prepare import prepare
from autoseg.preprocessing.store import write_prepared
from autoseg.training.fold import train_fold
from autoseg.training.job import FoldJob
from autoseg.training.tasks import EpochScore
from autoseg.workspace.checkpoint import load_weights
from autoseg.workspace.files import read_records
from autoseg.workspace.folders import FoldFolder
from planners.schema.base import Part
from planners.schema.labels import LabelSpec
from planners.schema.plan import Schedule
from tests_support import small_plan, sphere_case

CPU = Runtime(torch.device("cpu"), torch.float32)


class PooledRegression(nn.Module):
    """Features of an image, pooled, and a head of one number."""

    def __init__(self):
        super().__init__()
        self.features, self.head = nn.Conv3d(1, 4, 3, padding=1), nn.Linear(4, 1)

    def forward(self, image_BCDHW, present_BC=None, conditions=None, absent_BCDHW=None):
        return self.head(self.features(image_BCDHW).relu().mean((2, 3, 4)))[:, 0]


@dataclass(frozen=True)
class MeanIntensity:
    """The regression of a patch's mean intensity."""

    labels: LabelSpec

    def build_model(self, layout):
        return PooledRegression()

    def batches(self, store, configuration, seed, device, layout):
        return make_batches(store, configuration, self.labels, seed, device, layout)

    def build_loss(self, device):
        return lambda outputs, batch: (outputs - batch.image_BCDHW.mean((1, 2, 3, 4))).square().mean()

    @torch.inference_mode()
    def score(self, model, batches, count, runtime):
        loss, seen = self.build_loss(runtime.device), [next(batches) for _ in range(count)]
        errors = [loss(model(batch.image_BCDHW), batch) for batch in seen]
        error = torch.stack(errors).mean().item()
        return EpochScore({"squared_error": error}, f"error {error:.3f}")

    def watch(self):
        return lambda score, progress: "it diverges" if score.record["squared_error"] > 1e6 else ""


def test_a_second_task_trains_through_the_same_loop(tmp_path):
    plan = small_plan(schedule=Schedule(iterations=40, iterations_per_epoch=10, learning_rate=1e-2, decay="cosine",
                                        optimizer=Part(name="adamw")))
    names = tuple(f"ball_{seed}" for seed in range(3))
    for seed, name in enumerate(names):
        write_prepared(tmp_path / "cases", prepare(sphere_case(name, seed), plan, plan.configurations["3d_fullres"]))
    job = FoldJob(plan=plan, name="3d_fullres", fold=0, folder=FoldFolder(tmp_path / "fold_0"), cases=tmp_path / "cases",
                  training=names[:2], validation=names[2:])
    train_fold(job, MeanIntensity(plan.labels), CPU, 0.0)
    records = read_records(job.folder.metrics)
    assert [record["iteration"] for record in records] == [10, 20, 30, 40]
    assert records[-1]["train_loss"] < 0.5 * records[0]["train_loss"]
    assert records[-1]["squared_error"] < records[0]["squared_error"]
    assert "validation_dice" not in records[0]
    assert set(load_weights(job.folder.checkpoint)[0]) == set(PooledRegression().state_dict())
