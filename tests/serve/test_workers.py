"""The worker processes of a service: they do its jobs, and are replaced when they die."""

import os
import signal
import subprocess
import time

import pytest
import torch

from autoseg.formats import read_label
from autoseg.grids.geometry import Geometry
from autoseg.serve.settings import Limits, ServeSettings
from autoseg.serve.workers import Workers
from autoseg.workspace.files import write_json
from autoseg.workspace.jobs.types import JobResult
from tests_support import sphere_case
from worker_support import Bench, write_model

IMAGE = (sphere_case("ball", 3).image_CDHW, Geometry((20, 18, 16), (1.0, 1.0, 1.0)))
RESULT = JobResult(labels=(), spacing_mm=(1.0, 1.0, 1.0), shape=(4, 4, 4), files=("nifti",), images=())


@pytest.fixture
def bench(tmp_path):
    bench = Bench(tmp_path)
    with bench.spool.held():
        yield bench


def workers_of(bench, devices=("cpu",), **limits):
    settings = ServeSettings(spool=bench.spool.root, home=bench.home, devices=devices, limits=Limits(**limits))
    return Workers(settings, bench.spool, bench.jobs)


@pytest.mark.parametrize(("has_gpu", "device"), [(True, "cuda"), (False, "cpu")])
def test_the_state_of_a_worker_has_the_device_that_auto_means(bench, monkeypatch, has_gpu, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert [state["device"] for state in workers_of(bench, devices=("auto", "cuda:1")).states()] == [device, "cuda:1"]


def wait_until(is_so, seconds=60.0):
    """Wait for what other processes do; how long that takes says nothing."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_job_is_done(bench):
    write_model(bench.home)
    first, second = bench.ask(IMAGE), bench.ask(IMAGE)
    with workers_of(bench) as workers:
        wait_until(lambda: bench.jobs.get(first).state == "running")
        assert workers.states() == [{"device": "cpu", "state": "busy", "model": "Dataset001_Spheres"}]
        (process,) = [worker.process for worker in workers._processes]
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: bench.jobs.get(second).state == "done")
        assert bench.jobs.get(first).state == "done" and bench.jobs.get(first).attempts <= 2
    label_DHW, _ = read_label(bench.spool.job(first).result / "mask.nii.gz")
    assert label_DHW.shape == (20, 18, 16)
    assert all(worker.process.poll() is not None for worker in workers._processes)


def test_a_start_goes_on_where_a_killed_service_left_off(bench):
    ran, whole, waits, gone = (bench.ask(IMAGE) for _ in range(4))
    for _ in range(2):
        bench.jobs.claim("worker-0")
    write_json(bench.spool.job(whole).record, RESULT)
    bench.spool.remove(gone)
    (bench.spool.jobs / ("0" * 32)).mkdir()
    with workers_of(bench, devices=()):
        states = [bench.jobs.get(job_id).state for job_id in (ran, whole, waits, gone)]
        assert states == ["queued", "done", "queued", "failed"]
    assert bench.jobs.get(gone).problem.what == "the files of the job are gone"
    assert sorted(path.name for path in bench.spool.jobs.iterdir()) == sorted([ran, whole, waits])


def test_the_job_of_a_dead_worker_is_given_back_although_the_first_try_fails(bench, monkeypatch):
    job_id = bench.ask(IMAGE)
    bench.jobs.claim("worker-0")
    workers = workers_of(bench)
    (worker,) = workers._processes
    worker.process = subprocess.Popen(["true"])
    worker.process.wait()
    monkeypatch.setattr(workers, "_start", lambda worker: None)
    with monkeypatch.context() as full_disk, pytest.raises(OSError, match="full"):
        full_disk.setattr(workers._jobs, "give_back", lambda *_: (_ for _ in ()).throw(OSError("full")))
        workers._revive(worker)
    workers._revive(worker)
    assert bench.jobs.get(job_id).state == "queued" and worker.process is None


def test_a_job_that_ran_when_the_service_was_stopped_has_not_used_an_attempt(bench):
    job_id = bench.ask(IMAGE)
    with workers_of(bench, devices=()):
        bench.jobs.claim("worker-0")
    job = bench.jobs.get(job_id)
    assert (job.state, job.attempts) == ("queued", 0)


def test_uploads_and_then_results_are_removed_when_their_time_is_over(bench):
    job_id = bench.ask(IMAGE)
    bench.jobs.cancel(job_id)
    (bench.spool.job(job_id).result).mkdir()
    workers = workers_of(bench, devices=(), input_hours=0.0)
    workers._sweep()
    folder = bench.spool.job(job_id)
    assert not folder.input.exists() and folder.result.exists()
    workers._jobs._now = lambda: 2.0**40
    workers._swept = -1e9
    workers._sweep()
    assert not folder.path.exists() and bench.jobs.get(job_id).state == "expired"


def test_a_worker_that_does_not_obey_its_time_limit_fails_its_job(bench):
    job_id = bench.ask(IMAGE)
    bench.jobs.claim("worker-0")
    workers = workers_of(bench, devices=(), job_seconds=1.0)
    workers._jobs._now = lambda: time.time() + 100
    workers._end_overrun()
    assert bench.jobs.get(job_id).state == "failed" and "takes too long" in bench.jobs.get(job_id).problem.what
