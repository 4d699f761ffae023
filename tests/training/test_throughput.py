"""What a step and a prediction cost is measured, and a compiler that does not work is no obstacle."""

import itertools
import logging

import pytest
import torch

from autoseg.base.runtime import Runtime
from autoseg.batches.store import store_cases
from autoseg.preprocessing.prepare import prepare
from autoseg.training import throughput as throughput_module
from autoseg.training.state import new_state
from autoseg.training.tasks.segmentation import Segmentation
from autoseg.training.throughput import SlowerThanPlanned, fastest_forward, measure_throughput
from planners.schema.phases import Phase
from tests_support import small_plan, sphere_case

CPU = Runtime(torch.device("cpu"), torch.float32)


class Clock:
    """Advances by a tick whenever it is read, and when something claims to take time."""

    def __init__(self, tick=0.0):
        self.seconds, self.tick = 0.0, tick

    def __call__(self):
        self.seconds += self.tick
        return self.seconds

    def advance(self, seconds):
        self.seconds += seconds


@pytest.fixture
def task():
    plan = small_plan()
    return Segmentation(plan, plan.configurations["3d_fullres"])


@pytest.fixture
def cases(task):
    return [prepare(sphere_case(f"ball_{seed}", seed), task.plan, task.configuration) for seed in range(3)]


@pytest.fixture
def stream(task, cases):
    return task.batches(store_cases(cases, "cpu", 2**30), task.configuration, 0, torch.device("cpu"))


@pytest.fixture
def clock():
    return Clock()


def state_of(task):
    return new_state(task, task.configuration, CPU, 0)


def test_the_measured_throughput_is_that_of_the_steps(task, stream, cases, clock, monkeypatch):
    monkeypatch.setattr(throughput_module, "train_step", lambda *arguments: clock.advance(0.02))
    state = state_of(task)
    measured, forward = measure_throughput(task.configuration, task, state, stream, cases, CPU, clock=clock)
    assert measured.seconds_per_iteration == pytest.approx(0.02 * (1 + 1 / 60))  # with the validation of patches
    assert measured.mirrored_passes == 8
    assert forward is state.model  # a CPU's budget has no time for a compiler


def test_a_short_budget_pays_for_fewer_measured_steps(task, stream, cases, clock, monkeypatch):
    def steps_before_training(budget):
        taken = []
        monkeypatch.setattr(throughput_module, "train_step", lambda *arguments: taken.append(clock.advance(0.1)))
        schedule = task.configuration.schedule.model_copy(update={"iterations": None, "budget_seconds": budget})
        configuration = task.configuration.model_copy(update={"schedule": schedule})
        measure_throughput(configuration, task, state_of(task), stream, cases, CPU, clock=clock)
        return len(taken)

    assert [steps_before_training(budget) for budget in (3600.0, 60.0, 1.0)] == [1 + 20, 1 + 6, 1 + 3]


def test_more_validation_cases_are_given_more_time(task, stream, cases):
    few, many = (measure_throughput(task.configuration, task, state_of(task), stream, cases[:n], CPU, clock=Clock(1.0))[0]
                 for n in (1, 3))
    assert many.validation_rest_seconds > few.validation_rest_seconds
    assert many.validation_pass_seconds == pytest.approx(3 * few.validation_pass_seconds)
    assert many.reserve_seconds(mirroring=True) > many.reserve_seconds(mirroring=False)


@pytest.fixture
def gpu(clock, monkeypatch):
    """A runtime that says it is a GPU, with a step that only takes time."""
    monkeypatch.setattr(Segmentation, "build_loss", lambda *arguments: None)
    monkeypatch.setattr(Runtime, "wait", lambda runtime: clock.advance(0.002))
    return Runtime(torch.device("cuda"), torch.float32)


def test_a_compiler_that_fails_is_logged_and_left(task, stream, gpu, clock, monkeypatch, caplog):
    def broken(model, mode):
        raise RuntimeError("no C compiler found\nand a long trace")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(throughput_module, "train_step", lambda *arguments: None)
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    state = state_of(task)
    assert fastest_forward(task, state, stream, gpu, 2.0, clock=clock)[0] is state.model
    assert "no C compiler found" in caplog.text and "long trace" not in caplog.text


@pytest.mark.parametrize(("plain", "compiled", "answer"), [(0.060, 0.005, True), (0.005, 0.060, False)])
def test_compiling_is_chosen_where_it_is_faster(task, stream, gpu, clock, monkeypatch, plain, compiled, answer):
    monkeypatch.setattr(torch, "compile", lambda model, mode: "compiled")
    monkeypatch.setattr(throughput_module, "train_step",
                        lambda state, forward, *rest: clock.advance(compiled if forward == "compiled" else plain))
    forward, seconds = fastest_forward(task, state_of(task), stream, gpu, 2.0, clock=clock)
    assert (forward == "compiled") is answer
    assert seconds == pytest.approx(0.007)


@pytest.mark.parametrize(("queueing", "computing", "mode"), [(0.04, 0.0, "reduce-overhead"), (0.0, 0.04, "default")])
def test_cuda_graphs_are_for_steps_that_wait_for_the_host(task, gpu, clock, monkeypatch, queueing, computing, mode):
    asked = []
    monkeypatch.setattr(torch, "compile", lambda model, mode: asked.append(mode))
    monkeypatch.setattr(throughput_module, "train_step", lambda *arguments: clock.advance(queueing))
    monkeypatch.setattr(Runtime, "wait", lambda runtime: clock.advance(computing))
    fastest_forward(task, state_of(task), itertools.repeat(None), gpu, 2.0, clock=clock)
    assert asked == [mode]


def test_each_size_of_a_training_in_phases_is_compiled_by_itself(task, gpu, clock, monkeypatch):
    asked, state = [], state_of(task)
    state.schedule = state.schedule.model_copy(update={"phases": (Phase(until=0.5, patch_share=0.5),)})
    monkeypatch.setattr(torch, "compile", lambda model, mode, dynamic: asked.append(dynamic))
    monkeypatch.setattr(throughput_module, "train_step", lambda *arguments: None)
    fastest_forward(task, state, itertools.repeat(None), gpu, 2.0, clock=clock)
    assert asked == [False]


def test_steps_that_are_slower_than_planned_are_told_at_the_start_and_once_more():
    slower = SlowerThanPlanned(0.2)
    sentences = [bool(slower.sentence(seconds)) for seconds in (0.24, 0.3, 0.32, 0.6, 2.0)]
    assert sentences == [False, True, False, True, False]


def test_the_sentence_names_what_was_planned_and_measured():
    assert "350 ms where 200 ms were planned" in SlowerThanPlanned(0.2).sentence(0.35)


def test_a_plan_that_says_nothing_of_a_step_is_not_compared():
    assert SlowerThanPlanned(None).sentence(1e9) == ""
