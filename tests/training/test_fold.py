"""A fold learns, can be stopped at any moment and goes on as if it had not been."""

import time
from dataclasses import replace

import pytest
import torch

import autoseg.training.fold as fold_module
import autoseg.training.throughput as throughput_module
from autoseg.base.errors import AutosegError
from autoseg.base.runtime import Runtime
from autoseg.preprocessing.prepare import prepare
from autoseg.preprocessing.store import write_prepared
from autoseg.training.fold import train_fold
from autoseg.training.job import FoldJob, Pause
from autoseg.training.state import new_state
from autoseg.training.tasks.segmentation import Segmentation
from autoseg.workspace.checkpoint import load_state, load_weights
from autoseg.workspace.files import read_model, read_records
from autoseg.workspace.folders import FoldFolder
from planners.architectures.unet import UNet
from planners.architectures.vit import ViT
from planners.schema.base import Part
from planners.schema.labels import LabelSpec
from planners.schema.plan import ResolvedSchedule, Schedule
from tests_support import SPHERES, small_plan, sphere_case

CPU = Runtime(torch.device("cpu"), torch.float32)
NAMES = tuple(f"ball_{i}" for i in range(5))


@pytest.fixture
def job_of(tmp_path):
    def make(folder: str, validation=NAMES[4:], name="3d_fullres", dimensions=3, **changes) -> FoldJob:
        plan = small_plan(dimensions, **changes)
        cases = tmp_path / f"prepared_{dimensions}"
        if not cases.exists():
            for seed, case in enumerate(NAMES):
                write_prepared(cases, prepare(sphere_case(case, seed), plan, plan.configurations[name]))
        return FoldJob(plan=plan, name=name, fold=0, folder=FoldFolder(tmp_path / folder), cases=cases,
                       training=NAMES[:4], validation=tuple(validation), seed=3)

    return make


class Clock:
    """Stands still until it is advanced."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds

    def advance(self, seconds):
        self.seconds += seconds


def train(job, task=None, clock=time.monotonic):
    train_fold(job, task or Segmentation(job.plan, job.configuration), CPU, clock(), clock=clock)
    return load_weights(job.folder.checkpoint)[0]


def test_a_fold_leaves_weights_records_schedule_and_state(job_of):
    job = job_of("fold_0")
    train(job)
    records = read_records(job.folder.metrics)
    assert [record["iteration"] for record in records] == [3, 6]
    assert set(records[-1]["validation_dice_by_label"]) == {"sphere", "core"}
    assert job.folder.schedule.is_file() and job.folder.state.is_file()


def test_the_same_seed_trains_the_same_weights(job_of):
    first, second = train(job_of("a")), train(job_of("b"))
    assert all(torch.equal(first[name], second[name]) for name in first)


TRANSFORMER = {"architecture": ViT(token=(8, 8, 8), width=24, depth=2, heads=2, drop_path=0.5), "network": Part(name="vit")}


SHORT = Schedule(iterations=6, iterations_per_epoch=3, learning_rate=1e-2)
MUON = {"schedule": SHORT.model_copy(update={"optimizer": Part(name="muon"), "ema": 0.9})}
SCHEDULE_FREE = {"schedule": SHORT.model_copy(update={"optimizer": Part(name="schedule_free_adamw"), "decay": "constant"})}


@pytest.mark.parametrize(("cause", "changes"), [(RuntimeError, {}), (KeyboardInterrupt, {}), (RuntimeError, TRANSFORMER),
                                                (RuntimeError, MUON), (RuntimeError, SCHEDULE_FREE)])
def test_a_stopped_training_goes_on_as_if_nothing_had_happened(job_of, monkeypatch, cause, changes):
    whole = train(job_of("whole", **changes))
    job = job_of("stopped", **changes)
    step, calls = fold_module.train_step, iter(range(100))

    def interrupted(*arguments):
        if next(calls) == 4:  # in the middle of the second epoch
            raise cause("power failure")
        return step(*arguments)

    monkeypatch.setattr(fold_module, "train_step", interrupted)
    with pytest.raises(cause, match="power failure"):
        train(job)
    monkeypatch.setattr(fold_module, "train_step", step)
    resumed = train(job)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert [record["iteration"] for record in read_records(job.folder.metrics)] == [3, 6]


def test_an_average_of_the_optimiser_is_what_is_written(job_of, monkeypatch):
    states, new = [], fold_module.new_state
    monkeypatch.setattr(fold_module, "new_state", lambda *arguments: states.append(new(*arguments)) or states[-1])
    written = train(job_of("free", **SCHEDULE_FREE))
    state = states[0]
    trained = {name: parameter for name, parameter in state.model.named_parameters() if parameter in state.optimizer.state}
    assert trained and all(torch.equal(written[name], state.optimizer.state[p]["average"]) for name, p in trained.items())
    assert not all(torch.equal(written[name], p) for name, p in trained.items())


def test_a_damaged_state_falls_back_to_the_one_before(job_of, monkeypatch):
    whole, job = train(job_of("whole")), job_of("stopped")
    step, calls = fold_module.train_step, iter(range(100))
    monkeypatch.setattr(fold_module, "train_step", lambda *a: step(*a) if next(calls) < 4 else 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(job)
    monkeypatch.setattr(fold_module, "train_step", step)
    job.folder.state.write_bytes(job.folder.state.read_bytes()[:1000])
    resumed = train(job)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_training_goes_on_with_its_own_cases_only(job_of):
    job = job_of("fold_0")
    train(job)
    with pytest.raises(AutosegError, match=r"folds were changed.*--restart"):
        train(replace(job, training=NAMES[1:], validation=NAMES[:1]))


def test_a_training_goes_on_with_its_own_seed_only(job_of):
    job = job_of("fold_0")
    train(job)
    with pytest.raises(AutosegError, match=r"another seed.*found: 3; expected: 4.*--seed 3.*--restart"):
        train(replace(job, seed=4))


def test_a_state_of_a_device_without_loss_scaling_goes_on_where_it_is_needed(job_of):
    job = job_of("fold_0")
    state = new_state(Segmentation(job.plan, job.configuration), job.configuration, CPU, 0)
    plain = state.to_plain()
    state.scaler = torch.amp.GradScaler("cpu", enabled=True)
    state.restore(plain)
    assert plain["scaler"] == {} and state.scaler.is_enabled()


def test_a_network_of_one_stage_is_refused(job_of):
    architecture = UNet(strides=((1, 1, 1),), kernel_sizes=((3, 3, 3),), features=(8,), blocks_encoder=(1,),
                        convs_decoder=())
    job = job_of("flat_net", architecture=architecture)
    with pytest.raises(AutosegError, match=r"single stage.*fewer than 8 voxels"):
        train(job)
    assert not job.folder.state.exists()


def test_the_loss_falls(job_of):
    schedule = Schedule(iterations=40, iterations_per_epoch=20, learning_rate=1e-2, decay="cosine")
    job = job_of("longer", schedule=schedule)
    train(job)
    first, last = (record["train_loss"] for record in read_records(job.folder.metrics))
    assert last < 0.8 * first


def test_a_loss_that_is_not_finite_stops_with_advice_and_keeps_the_state(job_of, monkeypatch):
    job = job_of("nan")
    monkeypatch.setattr(fold_module, "train_step", lambda *a: torch.tensor(float("nan")))
    monkeypatch.setattr(fold_module.TrainState, "finished", property(lambda state: False))
    with pytest.raises((AutosegError, ZeroDivisionError), match=r"loss is nan.*learning_rate"):
        train(job)


def test_a_budget_is_kept_by_a_machine_that_becomes_slower(job_of, monkeypatch):
    schedule = Schedule(budget_seconds=300.0, learning_rate=1e-2, decay="cosine")
    job, clock, step, seconds = job_of("budget", schedule=schedule), Clock(), fold_module.train_step, iter([2.0] * 20)

    def timed(*arguments):
        clock.advance(next(seconds, 10.0))
        return step(*arguments)

    for module in (fold_module, throughput_module):
        monkeypatch.setattr(module, "train_step", timed)
    train(job, clock=clock)
    resolved = read_model(job.folder.schedule, ResolvedSchedule)
    assert 20 < resolved.iterations < 50  # of two seconds there were room for more than a hundred
    assert 0.9 * 300 < clock() <= 300


def test_a_stop_near_the_end_of_an_epoch_does_not_shorten_a_budget(job_of, two_seconds_a_step, monkeypatch):
    schedule = Schedule(budget_seconds=600.0, learning_rate=1e-2, decay="cosine")
    clock, step, score, asked = two_seconds_a_step, fold_module.train_step, Segmentation.score, []

    def checked(*arguments):
        clock.advance(6.0)  # as long as three steps; all but one of the epoch are before the stop
        return score(*arguments)

    def stopped(state, *arguments):
        asked.append(state.iteration == 2 * epoch - 2)
        return step(state, *arguments)

    monkeypatch.setattr(Segmentation, "score", checked)
    whole = job_of("whole", schedule=schedule)
    train(whole, clock=clock)
    epoch = read_records(whole.folder.metrics)[0]["iteration"]
    monkeypatch.setattr(fold_module, "train_step", stopped)
    monkeypatch.setattr(fold_module, "is_asked_to_stop", lambda: bool(asked and asked[-1]))
    job = job_of("stopped", schedule=schedule)
    train(job, clock=clock)
    assert load_state(job.folder.state)["train"]["iteration"] == 2 * epoch - 1
    asked.clear()
    monkeypatch.setattr(fold_module, "train_step", step)
    train(job, clock=clock)
    planned = [read_records(each.folder.metrics)[1]["iterations"] for each in (whole, job)]
    assert planned[1] == pytest.approx(planned[0], rel=0.03)


def test_without_validation_cases_nothing_is_scored(job_of):
    job = job_of("all", validation=())
    train(job)
    assert read_records(job.folder.metrics)[-1]["validation_dice"] is None


def test_two_dimensions_train_too(job_of):
    job = job_of("flat", name="2d", dimensions=2)
    assert train(job)["network.encoder.0.0.0.weight"].ndim == 4


def test_regions_train_too(tmp_path, job_of):
    regions = LabelSpec(names={"background": (0,), "whole": (1, 2), "core": (2,)}, region_order=(1, 2))
    job = job_of("regions", labels=regions)
    assert train(job)["network.decoder.heads.0.weight"].shape[0] == 2
    assert SPHERES.n_heads == 3


RACED = Schedule(budget_seconds=300.0, learning_rate=1e-2, decay="stable", ema=0.9)


@pytest.fixture
def two_seconds_a_step(monkeypatch):
    """A clock that only steps advance."""
    clock, step = Clock(), fold_module.train_step

    def slow(*arguments):
        clock.advance(2.0)
        return step(*arguments)

    monkeypatch.setattr(fold_module, "train_step", slow)
    monkeypatch.setattr(throughput_module, "train_step", slow)
    return clock


def pause(job, clock, seconds, name="rung"):
    rung = job.folder.path / f"{name}.safetensors"
    train_fold(job, Segmentation(job.plan, job.configuration), CPU, clock(), pause=Pause(seconds, rung), clock=clock)
    return load_weights(rung)


def test_a_pause_falls_within_its_share_and_ends_an_epoch_early(job_of, two_seconds_a_step):
    job = job_of("paused", schedule=RACED)
    _, facts = pause(job, two_seconds_a_step, 50.0)
    assert 40 < facts["seconds"] <= 48  # two seconds and more are kept to predict the validation case
    assert not job.folder.checkpoint.is_file()
    assert read_records(job.folder.metrics)[-1]["iteration"] == facts["iterations"]


def test_a_paused_training_goes_on_as_if_it_had_not_been(job_of, two_seconds_a_step, monkeypatch):
    step, sums = fold_module.train_step, []

    def noted(state, *arguments):
        value = step(state, *arguments)
        sums.append((state.iteration, float(sum(p.double().sum() for p in state.average.values))))
        return value

    monkeypatch.setattr(fold_module, "train_step", noted)
    job = job_of("twice", schedule=RACED)
    _, first = pause(job, two_seconds_a_step, 40.0, "first")
    _, second = pause(job, two_seconds_a_step, 100.0, "second")
    twice, sums[:] = dict(sums), []
    pause(job_of("once", schedule=RACED), two_seconds_a_step, 100.0)
    assert 10 < first["iterations"] < second["iterations"]
    assert [dict(sums)[n] for n in twice] == list(twice.values())


def test_a_paused_training_ends_with_the_budget_that_its_plan_has_then(job_of, two_seconds_a_step):
    clock, job = two_seconds_a_step, job_of("paused", schedule=RACED)
    pause(job, clock, 100.0)
    again = job_of("paused", schedule=RACED.model_copy(update={"budget_seconds": 200.0}))
    train(again, clock=clock)
    resolved = read_model(job.folder.schedule, ResolvedSchedule)
    records = read_records(job.folder.metrics)
    assert resolved.budget_seconds == 200
    assert 0.9 * 200 < clock() <= 200
    assert records[-1]["iteration"] == resolved.iterations
    assert records[0]["learning_rate"] == records[1]["learning_rate"] > records[-1]["learning_rate"]


def test_a_share_that_measuring_used_up_still_trains_one_iteration(job_of, two_seconds_a_step):
    _, facts = pause(job_of("short", schedule=RACED), two_seconds_a_step, 3.0)
    assert facts["iterations"] == 1


def test_a_machine_that_slept_through_its_share_still_has_its_decay_before_it(job_of, two_seconds_a_step, monkeypatch):
    clock, job, step = two_seconds_a_step, job_of("slept", schedule=RACED), fold_module.train_step

    def asleep(state, *arguments):
        if state.iteration == 12:
            clock.advance(280.0)  # of a budget of 300 s
        return step(state, *arguments)

    monkeypatch.setattr(fold_module, "train_step", asleep)
    _, facts = pause(job, clock, 100.0)
    train(job_of("slept", schedule=RACED.model_copy(update={"budget_seconds": 200.0})), clock=clock)
    records = read_records(job.folder.metrics)
    constant = [record["learning_rate"] for record in records if record["iteration"] <= facts["iterations"]]
    assert set(constant) == {1e-2}
    assert records[-1]["iteration"] >= facts["iterations"] / 0.75
    assert records[-1]["learning_rate"] < 1e-2
