"""What is learned: bf16 against float32 by Dice, and a fold of prepared data within a budget."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import mean

import numpy as np
import torch

from autoseg.base.runtime import Runtime
from autoseg.batches.loader import make_batches
from autoseg.batches.store import store_cases
from autoseg.datasets.case import PreparedCase
from autoseg.nn.model import Model, build_model
from autoseg.planning.probe import ProbedHardware
from autoseg.prediction.window import predict_logits
from autoseg.training.fold import train_fold
from autoseg.training.job import FoldJob
from autoseg.training.state import new_state
from autoseg.training.tasks.segmentation import Segmentation
from autoseg.workspace.checkpoint import load_weights
from autoseg.workspace.files import read_model
from autoseg.workspace.folders import FoldFolder
from gpu_parts.plans import NAME, Setting, first_fold, given_setting, shortened
from gpu_parts.steps import our_step, wait
from gpu_parts.table import Table
from planners import PLANNERS
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import Budget
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan, ResolvedSchedule

# What cases were prepared by; a plan that agrees in these may train on them.
_PREPARED_BY = ("spacing_mm", "normalizers", "resampling")


def measure_precision(table: Table, setting: Setting, runtime: Runtime, iterations: int) -> None:
    """The same short training in bf16 and in float32, the same batches in the same order; mean Dice of held-out cases."""
    short = replace(setting, plan=shortened(setting.plan, iterations))
    scores = {}
    for dtype in (torch.bfloat16, torch.float32):
        with_precision = Runtime(runtime.device, dtype)
        start = time.perf_counter()
        with _true_float32():
            model = _trained(short, with_precision)
            wait(with_precision)
            training, start = time.perf_counter() - start, time.perf_counter()
            scores[dtype] = mean_dice(model, short.validation, short.plan.labels, short.configuration, with_precision)
        seconds = (time.perf_counter() - start) / len(short.validation)
        table.add(f"{setting.title}: {iterations} iterations in {str(dtype).removeprefix('torch.')}",
                  f"mean Dice {scores[dtype]:.4f} of {len(short.validation)} held-out cases",
                  f"trained in {training:.1f} s; {1000 * seconds:.0f} ms a case predicted, mirrored")
    table.add(f"{setting.title}: Dice in bf16 less float32", f"{scores[torch.bfloat16] - scores[torch.float32]:+.4f}",
              "one seed; includes what the order of additions changes")


def train_within(table: Table, prepared: Path, budget_seconds: float, runtime: Runtime, work: Path) -> None:
    """Fold 0 of a prepared dataset, planned for this device and budget where the cases allow, and its mean Dice."""
    started = time.monotonic()
    given = given_setting(prepared, "budgeted")
    folder = prepared / f"{given.plan.planner}_{NAME}"
    plan, remark = _planned_here(prepared, given.plan, budget_seconds, runtime)
    training, validation = first_fold(prepared, folder)
    job = FoldJob(plan=plan, name=NAME, fold=0, folder=FoldFolder(work), cases=folder, training=tuple(training),
                  validation=tuple(validation))
    train_fold(job, Segmentation(plan, job.configuration), runtime, started)
    schedule = read_model(job.folder.schedule, ResolvedSchedule)
    model = build_model(plan, job.configuration)
    model.load_state_dict(load_weights(job.folder.checkpoint)[0])
    model = runtime.arranged(model, job.configuration.dimensions).eval()
    trained = time.monotonic() - started
    configuration = job.configuration
    dice = mean_dice(model, given.validation, plan.labels, configuration, runtime, mirrored=schedule.validation_mirroring)
    table.add(f"{plan.dataset} fold 0, budget {budget_seconds:.0f} s", f"mean Dice {dice:.4f} of {len(validation)} cases",
              f"on the prepared grid; {schedule.iterations} iterations in {trained:.0f} s, "
              f"{time.monotonic() - started:.0f} s in all; widths {configuration.architecture.features}, "
              f"batch {configuration.batch}; {remark}; "
              "target >= 0.885 in 6 min on an H200")


def mean_dice(model: Model, cases: tuple[PreparedCase, ...], labels: LabelSpec, configuration: Configuration,
              runtime: Runtime, *, mirrored: bool = True) -> float:
    """Mean over foreground labels of the mean over cases; a case that has no such voxel and is given none is left out."""
    dice: dict[str, list[float]] = {name: [] for name in labels.foreground}
    for case in cases:
        logits = predict_logits(model, np.asarray(case.image_CDHW[:]), configuration, runtime, present_C=case.present_C,
                                mirror_axes=None if mirrored else ())
        heads = (logits > 0) if labels.has_regions else torch.nn.functional.one_hot(logits.argmax(0)).movedim(-1, 0)[1:] > 0
        truth = np.asarray(case.label_DHW[:])
        for index, name in enumerate(labels.foreground):
            predicted = heads[index].cpu().numpy() if index < len(heads) else np.zeros(truth.shape, bool)
            expected = np.isin(truth, labels.names[name])
            if size := predicted.sum() + expected.sum():
                dice[name].append(float(2 * (predicted & expected).sum() / size))
    return mean(mean(scores) for scores in dice.values() if scores)


@contextmanager
def _true_float32() -> Iterator[None]:
    """Within this context convolutions in float32 are not rounded to TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _trained(setting: Setting, runtime: Runtime) -> Model:
    state = new_state(Segmentation(setting.plan, setting.configuration), setting.configuration, runtime, seed=0)
    store = store_cases(setting.training, runtime.device, 2**62)
    batches = make_batches(store, setting.configuration, setting.plan.labels, 0, runtime.device)
    step = our_step(setting, state, state.model, runtime, batches)
    state.model.train()
    with runtime.same_shapes():
        while not state.finished:
            step()
    return state.model.eval()


def _planned_here(prepared: Path, given: Plan, budget_seconds: float, runtime: Runtime) -> tuple[Plan, str]:
    """A plan for this device where the prepared cases fit it, else the one they were prepared for."""
    budget = {"iterations": None, "budget_seconds": budget_seconds}
    fingerprint = prepared / "fingerprint.json"
    if given.planner in PLANNERS.names() and given.planner == "budgeted" and fingerprint.is_file():
        plan = PLANNERS.get("budgeted")(read_model(fingerprint, Fingerprint), ProbedHardware(str(runtime.device)),
                                        Budget(seconds_per_fold=budget_seconds))
        mine, theirs = plan.configurations.get(NAME), given.configurations[NAME]
        if mine is not None and plan.transpose == given.transpose and all(
                getattr(mine, key) == getattr(theirs, key) for key in _PREPARED_BY):
            return plan, "planned for this device"
    configuration = given.configurations[NAME]
    configuration = configuration.model_copy(update={"schedule": configuration.schedule.model_copy(update=budget)})
    changed = given.model_copy(update={"configurations": {NAME: configuration}})
    return changed, f"the plan that the cases were prepared for ({given.planner})"
