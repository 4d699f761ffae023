"""Validation cases are timed during a training, and nothing else of it changes."""

import pytest
import torch

import autoseg.training.fold as fold_module
import autoseg.training.throughput as throughput_module
import autoseg.training.timing as timing_module
import autoseg.training.validate as validate_module
from autoseg.base.runtime import Runtime
from autoseg.formats import write_label
from autoseg.preprocessing.prepare import prepare
from autoseg.preprocessing.store import write_prepared
from autoseg.training.fold import train_fold
from autoseg.training.job import FoldJob
from autoseg.training.tasks.segmentation import Segmentation
from autoseg.training.throughput import CaseWork
from autoseg.workspace.checkpoint import load_weights
from autoseg.workspace.folders import FoldFolder
from planners.schema.base import Part
from planners.schema.labels import LabelSpec
from planners.schema.plan import Schedule
from tests_support import small_plan, sphere_case

CPU = Runtime(torch.device("cpu"), torch.float32)
NAMES = tuple(f"ball_{i}" for i in range(8))
STEP, TILE = 2.0, 0.03  # seconds that a step and a tile claim to take
BUDGET = Schedule(budget_seconds=100.0, learning_rate=1e-2, decay="cosine", ema=0.9)
SCHEDULE_FREE = Schedule(budget_seconds=100.0, learning_rate=1e-2, decay="constant",
                         optimizer=Part(name="schedule_free_adamw"))
REGIONS = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds

    def advance(self, seconds):
        self.seconds += seconds


@pytest.fixture
def clock(monkeypatch):
    """A clock that only steps advance."""
    clock, step = Clock(), fold_module.train_step

    def timed(*arguments):
        clock.advance(STEP)
        return step(*arguments)

    monkeypatch.setattr(fold_module, "train_step", timed)
    monkeypatch.setattr(throughput_module, "train_step", timed)
    monkeypatch.setattr(throughput_module, "_forward_seconds", lambda *known: TILE)
    monkeypatch.setattr(throughput_module, "_STEPS", (1, 1))
    return clock


@pytest.fixture
def job_of(tmp_path):
    def make(folder="fold", validation=NAMES[4:], dimensions=3, **changes) -> FoldJob:
        plan = small_plan(dimensions, **{"schedule": BUDGET, **changes})
        name = next(iter(plan.configurations))
        for seed, case in enumerate(NAMES):
            write_prepared(tmp_path / name, prepare(sphere_case(case, seed), plan, plan.configurations[name]))
        return FoldJob(plan=plan, name=name, fold=0, folder=FoldFolder(tmp_path / folder), cases=tmp_path / name,
                       training=NAMES[:4], validation=tuple(validation), seed=3)

    return make


@pytest.fixture
def truths(tmp_path):
    files = {name: tmp_path / "raw" / f"{name}.nii.gz" for name in NAMES}
    for seed, (name, file) in enumerate(files.items()):
        case = sphere_case(name, seed)
        write_label(file, case.label_DHW, case.geometry)
    return files


def train(job, clock, truths=None, **options):
    """The weights, and how long the training took by the clock."""
    start = clock()
    train_fold(job, Segmentation(job.plan, job.configuration), CPU, start, truths=truths, clock=clock, **options)
    return load_weights(job.folder.checkpoint)[0], clock() - start


def pretended(monkeypatch, clock, predicting, rest):
    """Cases that only claim to take time: for each pass, and for all else. The names and passes of those that were timed."""
    tried = []

    def case(job, name, *_, mirroring, **__):
        tried.append((name, 8 if mirroring else 1))
        clock.advance(tried[-1][1] * predicting + rest)
        return tried[-1][1] * predicting, rest

    monkeypatch.setattr(timing_module, "try_case", case)
    return tried


@pytest.mark.parametrize("changes", [{}, {"schedule": SCHEDULE_FREE}, {"labels": REGIONS, "dimensions": 2}])
def test_timed_cases_change_no_bit_of_a_training(job_of, clock, truths, monkeypatch, changes):
    """They take no time by this clock, and what they say is not believed, so that the schedules are the same."""
    alone, _ = train(job_of("alone", **changes), clock)
    seen, real = [], timing_module.try_case
    monkeypatch.setattr(timing_module, "with_timed", lambda throughput, start, cases: throughput)
    monkeypatch.setattr(timing_module, "try_case",
                        lambda job, name, *known, **options: seen.append(name) or real(job, name, *known, **options))
    job = job_of("timed", **changes)
    timed, _ = train(job, clock, truths)
    assert len(seen) > 2
    assert all(torch.equal(alone[name], timed[name]) for name in alone)
    assert not job.folder.validation.exists() and not list(job.folder.path.glob(".partial_*"))


@pytest.mark.parametrize(("predicting", "rest"), [(0.05, 0.1), (0.3, 1.0)])
def test_what_is_kept_for_the_validation_is_what_it_will_take(job_of, clock, truths, monkeypatch, predicting, rest):
    tried = pretended(monkeypatch, clock, predicting, rest)
    _, seconds = train(job_of(), clock, truths)
    assert seconds + 4 * (tried[-1][1] * predicting + rest) == pytest.approx(100.0, abs=2 * STEP + 1.0)


def test_the_smallest_case_is_tried_first_because_it_loads_libraries(job_of, clock, truths, monkeypatch):
    monkeypatch.setattr(timing_module, "work_of", lambda case, configuration: CaseWork(int(case.name[-1]) - 3, 0.1))
    tried = pretended(monkeypatch, clock, 0.01, 0.01)
    train(job_of(), clock, truths)
    assert tried[0][0] == "ball_4" and tried[1][0] in ("ball_5", "ball_6")  # of 1, 2, 3 and 4 tiles


def test_a_case_that_takes_too_long_with_mirroring_is_timed_without(job_of, clock, truths, monkeypatch):
    tried = pretended(monkeypatch, clock, 0.1, 0.1)
    monkeypatch.setattr(timing_module, "seconds_for_timing", lambda *known: 1.0)
    train(job_of(), clock, truths)
    assert tried and tried[0][1] == 1


@pytest.mark.parametrize("changes", [{"schedule": Schedule(iterations=10, learning_rate=1e-2)}, {"validation": ()}])
def test_without_a_budget_or_a_case_nothing_is_timed(job_of, clock, truths, monkeypatch, changes):
    tried = pretended(monkeypatch, clock, 0.1, 0.1)
    train(job_of(**changes), clock, truths)
    assert not tried


def test_a_case_that_cannot_be_scored_is_left_to_the_validation(job_of, clock, truths):
    weights, _ = train(job_of(), clock, {name: file.with_name("gone.nii.gz") for name, file in truths.items()})
    assert weights


def test_who_asks_a_training_to_stop_does_not_wait_for_a_case(job_of, clock, truths, monkeypatch):
    monkeypatch.setattr(timing_module, "is_asked_to_stop", lambda: True)
    monkeypatch.setattr(validate_module, "restore_label", lambda *known: pytest.fail("the case was predicted to its end"))
    train(job_of(), clock, truths)
