"""What a step and a prediction cost is measured, and a compiler that does not work is no obstacle."""

import itertools
import logging
import time

import pytest
import torch

from autoseg.base.runtime import Runtime
from autoseg.batches.loader import make_batches
from autoseg.batches.store import store_cases
from autoseg.preprocessing.prepare import prepare
from autoseg.training import throughput as throughput_module
from autoseg.training.job import FoldJob
from autoseg.training.state import new_state
from autoseg.training.throughput import fastest_forward, measure_throughput
from autoseg.workspace.folders import FoldFolder
from tests_support import small_plan, sphere_case

CPU = Runtime(torch.device("cpu"), torch.float32)


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """A job, a stream of batches and the prepared cases, with measuring cut short."""
    monkeypatch.setattr(throughput_module, "_SECONDS", 0.05)
    plan = small_plan()
    configuration = plan.configurations["3d_fullres"]
    cases = [prepare(sphere_case(f"ball_{seed}", seed), plan, configuration) for seed in range(3)]
    job = FoldJob(plan=plan, name="3d_fullres", fold=0, folder=FoldFolder(tmp_path), cases=tmp_path,
                  training=("ball_0",), validation=("ball_1",))
    stream = make_batches(store_cases(cases, "cpu", 2**30), configuration, plan.labels, 0, "cpu")
    return job, stream, cases


def state_of(job):
    return new_state(job.plan, job.configuration, CPU, job.seed)


def test_the_measured_pace_is_that_of_the_steps(setting, monkeypatch):
    job, stream, cases = setting
    monkeypatch.setattr(throughput_module, "train_step", lambda *arguments: time.sleep(0.02))
    state = state_of(job)
    measured, forward = measure_throughput(job, state, stream, cases, CPU)
    assert 0.02 <= measured.seconds_per_iteration < 0.06
    assert measured.mirrored_passes == 8
    assert forward is state.model  # a CPU's budget has no time for a compiler


def test_more_validation_cases_are_given_more_time(setting):
    job, stream, cases = setting
    one, three = (measure_throughput(job, state_of(job), stream, cases[:n], CPU)[0] for n in (1, 3))
    assert three.fixed_seconds > one.fixed_seconds
    assert three.reserve_seconds(mirroring=True) > three.reserve_seconds(mirroring=False)


@pytest.fixture
def gpu(monkeypatch):
    """A runtime that says it is a GPU, with a step that only takes time."""
    monkeypatch.setattr(throughput_module, "build_loss", lambda *arguments: None)
    monkeypatch.setattr(throughput_module, "_wait", lambda runtime: time.sleep(0.002))
    return Runtime(torch.device("cuda"), torch.float32)


def test_a_compiler_that_fails_is_logged_and_left(setting, gpu, monkeypatch, caplog):
    job, stream, _ = setting

    def broken(model, mode):
        raise RuntimeError("no C compiler found\nand a long trace")

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(throughput_module, "train_step", lambda *arguments: None)
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    state = state_of(job)
    assert fastest_forward(job, state, stream, gpu)[0] is state.model
    assert "no C compiler found" in caplog.text and "long trace" not in caplog.text


@pytest.mark.parametrize(("plain", "compiled", "answer"), [(0.060, 0.005, True), (0.005, 0.060, False)])
def test_compiling_is_chosen_where_it_is_faster(setting, gpu, monkeypatch, plain, compiled, answer):
    job, stream, _ = setting
    monkeypatch.setattr(torch, "compile", lambda model, mode: "compiled")
    monkeypatch.setattr(throughput_module, "train_step",
                        lambda state, forward, *rest: time.sleep(compiled if forward == "compiled" else plain))
    forward, seconds = fastest_forward(job, state_of(job), stream, gpu)
    assert (forward == "compiled") is answer
    assert seconds < 0.05


@pytest.mark.parametrize(("queueing", "computing", "mode"), [(0.04, 0.0, "reduce-overhead"), (0.0, 0.04, "default")])
def test_cuda_graphs_are_for_steps_that_wait_for_the_host(setting, gpu, monkeypatch, queueing, computing, mode):
    job, _, _ = setting
    asked = []
    monkeypatch.setattr(torch, "compile", lambda model, mode: asked.append(mode))
    monkeypatch.setattr(throughput_module, "train_step", lambda *arguments: time.sleep(queueing))
    monkeypatch.setattr(throughput_module, "_wait", lambda runtime: time.sleep(computing))
    fastest_forward(job, state_of(job), itertools.repeat(None), gpu)  # batches that take no time, on a busy machine too
    assert asked == [mode]
