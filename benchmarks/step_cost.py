"""Seconds per training step of 17 plans on the CPU, planned and measured: forward, loss, backward, clip, AdamW, average.

    python benchmarks/step_cost.py [--only WORDS] [--threads 2] [--repeats 5]
    python benchmarks/step_cost.py --profile --only "3d 16, thin" [--trace FOLDER]

The fastest of the repeats, so that other work of the machine does not count.
"""

import argparse
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as commands do, before torch is imported

import torch

from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.training.state import TrainState, new_state
from autoseg.training.step import train_step
from autoseg.training.tasks import TaskLoss
from autoseg.training.tasks.segmentation import Segmentation
from planners.architectures.unet import UNet
from planners.rules.pooling import pooling, unet
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, Schedule

WARM_UP = 2


@dataclass(frozen=True)
class Case:
    """A plan: the network's width by stage, its patch and batch, and what comes in and goes out."""

    title: str
    spacing_mm: tuple[float, ...]
    patch: tuple[int, ...]
    batch: int
    features: tuple[int, ...]  # the last one is for all deeper stages
    channels: int = 1
    classes: int = 1
    encoder: Literal["plain", "residual", "ghost", "mednext"] = "plain"
    skip: Literal["plain", "gated"] = "plain"
    blocks: tuple[int, ...] = (2,)
    convs_decoder: int = 2

    @property
    def architecture(self) -> UNet:
        shape = pooling(self.spacing_mm, self.patch)
        features = (*self.features, *[self.features[-1]] * shape.stages)[: shape.stages]
        made = unet(shape, self.encoder, self.blocks, self.convs_decoder)
        skip = {"skip": self.skip} if self.skip == "gated" else {}  # unknown to the older checkouts of step_duel.py
        return made.model_copy(update={"features": features, **skip})

    def plan(self) -> Plan:
        configuration = Configuration(
            spacing_mm=self.spacing_mm, median_shape=self.patch, patch=self.patch, batch=self.batch, batch_dice=True,
            architecture=self.architecture, network=Part(name="unet"), normalizers=(Part(name="zscore"),) * self.channels,
            augmentation=Part(name="none"),
            schedule=Schedule(learning_rate=3e-3, iterations=100, ema=0.98, clip_norm=12, optimizer=Part(name="adamw")))
        names = {"background": (0,)} | {f"class {k}": (k,) for k in range(1, self.classes + 1)}
        return Plan(dataset="step", planner="none", labels=LabelSpec(names=names), transpose=(0, 1, 2),
                    channels=tuple(ChannelSpec(name=f"MR {c}") for c in range(self.channels)),
                    configurations={"this": configuration})


CUBE, THICK, FLAT = (1.0, 1.0, 1.0), (4.0, 1.0, 1.0), (1.0, 1.0)
CASES = (
    Case("3d 8, lean", CUBE, (40, 56, 40), 2, (8, 16, 32, 64), classes=2, blocks=(1, 2), convs_decoder=1),
    Case("3d 16, thin", CUBE, (16, 32, 64), 2, (16, 32, 64, 128), channels=3),
    Case("3d 16, hippocampus", CUBE, (40, 56, 40), 2, (16, 32, 64, 128), classes=2),
    Case("3d 16, four small", CUBE, (32, 32, 32), 4, (16, 32, 64, 128, 192)),
    Case("3d 16-64", CUBE, (48, 48, 48), 2, (16, 64, 128, 256, 320)),
    Case("3d 16-48, 13 classes", CUBE, (32, 64, 64), 2, (16, 48, 96, 192, 256), classes=13),
    Case("3d 32", CUBE, (48, 40, 48), 2, (32, 64, 128, 256, 320)),
    Case("3d 16, thick slices", THICK, (16, 80, 80), 2, (16, 32, 64, 128, 192), channels=2),
    Case("3d residual 32", CUBE, (32, 40, 40), 2, (32, 64, 128, 256), encoder="residual", blocks=(1, 3, 4, 6),
         convs_decoder=1),
    Case("2d 16", FLAT, (64, 128), 8, (16, 32, 64, 128, 192), channels=3),
    Case("2d 16, large", FLAT, (256, 224), 4, (16, 32, 64, 128, 192), classes=3),
    Case("2d 32", FLAT, (128, 128), 8, (32, 64, 128, 256, 320)),
    Case("2d residual 32", FLAT, (96, 96), 8, (32, 64, 128, 256, 320), encoder="residual", blocks=(1, 3, 4, 6),
         convs_decoder=1),
    Case("3d Ghost 16", CUBE, (40, 56, 40), 2, (16, 32, 64, 128), encoder="ghost"),
    Case("3d MedNeXt 16", CUBE, (32, 40, 40), 2, (16, 32, 64, 128), encoder="mednext"),
    Case("2d MedNeXt 16", FLAT, (128, 128), 8, (16, 32, 64, 128, 192), encoder="mednext"),
    Case("3d 16, gated skips", CUBE, (40, 56, 40), 2, (16, 32, 64, 128), skip="gated"),
)


def training_of(case: Case, runtime: Runtime) -> tuple[TrainState, TaskLoss, Batch]:
    plan = case.plan()
    task = Segmentation(plan, plan.configurations["this"])
    draw = torch.Generator().manual_seed(0)
    batch = Batch(image_BCDHW=torch.randn(case.batch, case.channels, *case.patch, generator=draw),
                  label_BDHW=torch.randint(0, case.classes + 1, (case.batch, *case.patch), generator=draw).short(),
                  present_BC=torch.ones(case.batch, case.channels, dtype=torch.bool))
    return new_state(task, task.configuration, runtime, seed=0), task.build_loss(runtime.device), batch


def seconds_per_step(case: Case, runtime: Runtime, repeats: int) -> float:
    """The fastest of the repeats."""
    state, loss, batch = training_of(case, runtime)
    taken = []
    with runtime.same_shapes():
        for _ in range(WARM_UP + repeats):
            start = time.perf_counter()
            train_step(state, state.model, loss, batch, runtime)
            taken.append(time.perf_counter() - start)
    return min(taken[WARM_UP:])


def profile(case: Case, runtime: Runtime, trace: Path | None) -> str:
    """Time of each operation in three steps; their trace (for chrome://tracing) in a folder, where one is given."""
    state, loss, batch = training_of(case, runtime)
    train_step(state, state.model, loss, batch, runtime)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True) as profiled:
        for _ in range(3):
            train_step(state, state.model, loss, batch, runtime)
    if trace is not None:
        trace.mkdir(parents=True, exist_ok=True)
        profiled.export_chrome_trace(str(trace / f"{case.title.replace(',', '').replace(' ', '_')}.json.gz"))
    by_operation = profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=24, max_name_column_width=48)
    by_shape = profiled.key_averages(group_by_input_shape=True).table(
        sort_by="self_cpu_time_total", row_limit=30, max_name_column_width=40, max_shapes_column_width=90)
    return f"{by_operation}\n{by_shape}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="cases whose title contains these words")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--trace", type=Path, help="with --profile: folder of traces")
    parser.add_argument("--speed", action="store_true", help="print what the probe measured")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    from autoseg.planning.speed import measured_speed  # `step_duel.py` runs the rest with older checkouts too

    runtime = Runtime(torch.device("cpu"), torch.float32)
    ratios = []
    for case in CASES:
        if options.only not in case.title:
            continue
        if options.profile:
            print(profile(case, runtime, options.trace))
            continue
        start = time.perf_counter()
        speed = measured_speed(runtime)  # for each plan: what else the machine does changes within a minute
        probed = time.perf_counter() - start
        planned = case.architecture.step_seconds(case.patch, case.channels, case.classes + 1, batch=case.batch, speed=speed)
        measured = seconds_per_step(case, runtime, options.repeats)
        ratios.append(planned / measured)
        print(f"{case.title:24} planned {planned:.3f} s, measured {measured:.3f} s: {ratios[-1]:.2f} "
              f"(probed in {probed:.1f} s)", flush=True)
        if options.speed:
            print(speed.model_dump_json())
    if ratios:
        print(f"planned / measured: {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
