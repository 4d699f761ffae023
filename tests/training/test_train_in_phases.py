"""A training in phases: shapes, resumes over a switch, budgets, and what is refused."""

import logging
import signal
import time

import pytest
import torch

import autoseg.training.fold as fold_module
import autoseg.training.throughput as throughput_module
from autoseg.base.errors import UserError
from autoseg.base.ranks import Ranks, join
from autoseg.base.runtime import Runtime
from autoseg.base.stopping import Stopped
from autoseg.orchestrate.total import _timed
from autoseg.planning.check import check_plan
from autoseg.planning.resolve import apply_changes
from autoseg.preprocessing.prepare import prepare
from autoseg.preprocessing.store import write_prepared
from autoseg.selection.race import RaceTime
from autoseg.training.distributed import check_shareable
from autoseg.training.fold import train_fold
from autoseg.training.job import Extension, FoldJob
from autoseg.training.memory_estimate import step_bytes
from autoseg.training.tasks.reconstruction import Reconstruction
from autoseg.training.tasks.segmentation import Segmentation
from autoseg.workspace.checkpoint import load_weights
from autoseg.workspace.files import read_model, read_records, write_json
from autoseg.workspace.folders import FoldFolder
from planners.schema.base import Part
from planners.schema.phases import Phase
from planners.schema.plan import ResolvedSchedule, Schedule
from tests_support import small_plan, sphere_case

CPU = Runtime(torch.device("cpu"), torch.float32)
NAMES = tuple(f"ball_{i}" for i in range(5))
PHASES = (Phase(until=0.4, patch_share=0.5, batch_factor=2), Phase(until=0.7, patch_share=0.75))
SCHEDULE = Schedule(iterations=10, iterations_per_epoch=3, learning_rate=1e-2, decay="cosine", ema=0.9, phases=PHASES,
                    optimizer=Part(name="adamw"))
SHAPES = [(4, 8)] * 4 + [(2, 12)] * 3 + [(2, 16)] * 3  # batch and edge of each iteration


@pytest.fixture
def job_of(tmp_path):
    def make(folder: str, schedule=SCHEDULE, **job) -> FoldJob:
        plan = small_plan(schedule=schedule)
        cases = tmp_path / "prepared"
        if not cases.exists():
            for seed, case in enumerate(NAMES):
                write_prepared(cases, prepare(sphere_case(case, seed), plan, plan.configurations["3d_fullres"]))
        return FoldJob(plan=plan, name="3d_fullres", fold=0, folder=FoldFolder(tmp_path / folder), cases=cases,
                       training=NAMES[:4], validation=NAMES[4:], seed=3, **job)

    return make


@pytest.fixture(autouse=True)
def measured_in_no_time(monkeypatch):
    monkeypatch.setattr(throughput_module, "_STEPS", (1, 1))


class Clock:
    """Stands still until it is advanced."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def steps(monkeypatch):
    """The batch and the edge of every step of the training itself, and what happens before it."""
    seen, before, step = [], [lambda number: None], fold_module.train_step

    def watched(state, forward, loss, batch, runtime):
        before[0](len(seen))
        seen.append((batch.image_BCDHW.shape[0], batch.image_BCDHW.shape[-1]))
        assert batch.label_BDHW.shape == (batch.image_BCDHW.shape[0], *batch.image_BCDHW.shape[2:])
        return step(state, forward, loss, batch, runtime)

    monkeypatch.setattr(fold_module, "train_step", watched)
    watched.seen, watched.before = seen, before
    return watched


def train(job, clock=time.monotonic):
    train_fold(job, Segmentation(job.plan, job.configuration), CPU, clock(), clock=clock)
    return load_weights(job.folder.checkpoint)[0]


def test_every_iteration_has_the_sizes_of_its_phase(job_of, steps, caplog):
    caplog.set_level(logging.INFO)
    job = job_of("fold_0")
    train(job)
    assert steps.seen == SHAPES
    records = read_records(job.folder.metrics)
    assert [(record["iteration"], record["phase"]) for record in records] == [(4, 1), (7, 2), (10, 3)]
    assert "4 patches of 8x8x8 to 4, 2 patches of 12x12x12 to 7, 2 patches of 16x16x16 to 10" in caplog.text
    assert "from iteration 7 on 2 patches of 16x16x16" in caplog.text


def test_a_pre_training_has_phases_too(job_of, steps):
    job = job_of("fold_0")
    train_fold(job, Reconstruction(job.plan, job.configuration, Part(name="mae")), CPU, time.monotonic())
    assert steps.seen == SHAPES


def test_a_training_without_phases_records_none(job_of):
    job = job_of("fold_0", SCHEDULE.model_copy(update={"phases": (), "iterations": 3}))
    train(job)
    assert "phase" not in read_records(job.folder.metrics)[-1]


@pytest.mark.parametrize("stop_at", [2, 4, 5, 8])
def test_a_killed_training_goes_on_over_a_switch_as_if_nothing_had_happened(job_of, steps, stop_at):
    whole, job = train(job_of("whole")), job_of("stopped")

    def kill(number):
        if number == 10 + stop_at:
            raise RuntimeError("power failure")

    steps.before[0] = kill
    with pytest.raises(RuntimeError, match="power failure"):
        train(job)
    steps.before[0] = lambda number: None
    resumed = train(job)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert [record["iteration"] for record in read_records(job.folder.metrics)] == [4, 7, 10]


def test_a_training_that_was_stopped_within_an_epoch_goes_on_over_a_switch(job_of, steps, monkeypatch):
    whole, job = train(job_of("whole")), job_of("stopped")
    monkeypatch.setattr(fold_module, "is_asked_to_stop", lambda: len(steps.seen) == 10 + 5)
    monkeypatch.setattr(fold_module, "_write_weights", lambda *arguments: (_ for _ in ()).throw(Stopped(signal.SIGTERM)))
    with pytest.raises(Stopped):
        train(job)
    monkeypatch.undo()
    resumed = train(job)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("slower", [1.0, 1.5])
def test_a_budget_is_kept_whatever_the_phases_cost(job_of, monkeypatch, slower):
    clock, step = Clock(), fold_module.train_step

    def timed(factor):
        def run(state, forward, loss, batch, runtime):
            clock.seconds += factor * batch.label_BDHW.numel() / (2 * 16**3)  # as long as there are voxels
            return step(state, forward, loss, batch, runtime)
        return run

    monkeypatch.setattr(throughput_module, "train_step", timed(1.0))
    monkeypatch.setattr(fold_module, "train_step", timed(slower))
    job = job_of("budget", SCHEDULE.model_copy(update={"iterations": None, "budget_seconds": 60.0}))
    train(job, clock)
    resolved = read_model(job.folder.schedule, ResolvedSchedule)
    assert 0.9 * 60 < clock() <= 60
    assert resolved.iterations > 60 / slower  # more than of the plan's size would fit: a step costs 0.53 of one in the mean
    phases = [record["phase"] for record in read_records(job.folder.metrics)]
    assert phases == sorted(phases) and set(phases) == {1, 2, 3}


def test_an_extension_goes_on_in_the_last_phase(job_of, steps):
    finished = job_of("fold_0")
    train(finished)
    extension = Extension(seconds=1.0, weights=finished.folder.checkpoint, number=1)
    job = job_of("extension", extension=extension)
    write_json(job.folder.extension_time, {"schema_version": 1, "seconds": 1.0})
    train(job)
    assert set(steps.seen[10:]) == {(2, 16)}


def test_the_memory_of_the_costliest_phase_is_estimated():
    plain = small_plan(schedule=SCHEDULE.model_copy(update={"phases": ()}))
    late = small_plan(schedule=SCHEDULE.model_copy(update={"phases": (Phase(until=1, batch_factor=2),)}))
    assert step_bytes(small_plan(schedule=SCHEDULE), "3d_fullres") == step_bytes(plain, "3d_fullres")
    assert step_bytes(late, "3d_fullres") > 1.5 * step_bytes(plain, "3d_fullres")


def test_processes_cannot_share_a_phase_of_an_uneven_batch():
    odd = small_plan(schedule=SCHEDULE.model_copy(update={"phases": (Phase(until=1, batch_factor=1.5),)}))
    with join(Ranks(0, 2, 2)), pytest.raises(UserError, match="phase with a batch of 3"):
        check_shareable(odd.configurations["3d_fullres"], "fold_0")


def test_trainings_in_phases_race_where_no_rate_decays():
    constant = small_plan(schedule=SCHEDULE.model_copy(update={"decay": "constant"}))
    assert _timed(constant, RaceTime(60.0, (0.5,))).configurations["3d_fullres"].schedule.phases == PHASES
    plan = small_plan(schedule=SCHEDULE)
    assert _timed(plan, RaceTime(60.0, ())).configurations["3d_fullres"].schedule.phases == PHASES
    with pytest.raises(UserError, match=r"cannot race.*schedule\.phases in 3d_fullres"):
        _timed(plan, RaceTime(60.0, (0.5,)))


def test_views_in_turn_need_an_augmentation_that_counts_them():
    plan = apply_changes(small_plan(), "3d_fullres", ["mirror_views=alternating"])
    check_plan(plan, "3d_fullres")
    with pytest.raises(UserError, match=r"'none' reads no mirror_views"):
        apply_changes(plan, "3d_fullres", ["augmentation.name=none"])
    with pytest.raises(UserError, match=r"p_mirror.*half of them"):
        apply_changes(plan, "3d_fullres", ["augmentation.options.p_mirror=0.2"])


def test_wrong_phases_of_a_plan_are_refused():
    with pytest.raises(UserError, match=r"must rise, got \[0.8, 0.3\]"):
        apply_changes(small_plan(), "3d_fullres", ['schedule.phases=[{"until": 0.8}, {"until": 0.3}]'])
