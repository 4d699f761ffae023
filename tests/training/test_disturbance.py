"""What a machine lost to other work while a fold was trained."""

import torch

from autoseg.base.runtime import Runtime
from autoseg.training.disturbance import CoresWatch, Disturbance, disturbance_of

QUIET, HALF = {"others_share": 0.02, "others_watched_seconds": 10.0}, {"others_share": 0.5, "others_watched_seconds": 10.0}


def records(*measured):
    """Epochs of twenty iterations."""
    return [{"iteration": 20 * (number + 1), **epoch} for number, epoch in enumerate(measured)]


def test_half_of_a_core_halves_the_iterations_of_its_epochs():
    lost = disturbance_of(records(QUIET, HALF, HALF, QUIET), {})
    assert lost == Disturbance(seconds=20.0, share=0.5, iterations_fewer=40)
    assert lost.sentence() == "other work took 50 % of the cores for 20 s: about 40 iterations fewer"


def test_a_disturbed_validation_takes_time_and_no_iterations():
    lost = disturbance_of(records(QUIET), {"others_share": 0.25, "others_watched_seconds": 30.0})
    assert lost.sentence() == "other work took 25 % of the cores for 30 s"


def test_an_undisturbed_training_says_nothing():
    assert disturbance_of(records(QUIET, QUIET), QUIET).sentence() == ""


def test_what_is_not_known_is_not_said():
    assert disturbance_of(records({}, {}), {}) is None


def test_a_machine_of_which_nothing_can_be_known_records_nothing(monkeypatch):
    monkeypatch.setattr("autoseg.base.contention.now", lambda: None)
    watch = CoresWatch(Runtime(torch.device("cpu"), torch.float32))
    assert watch.record() == {} and watch.slowdown() == 1


def test_nothing_is_recorded_of_a_gpu():
    assert CoresWatch(Runtime(torch.device("cuda"), torch.float32)).record() == {}


def test_work_that_takes_half_of_the_cores_doubles_the_time(monkeypatch):
    monkeypatch.setattr("autoseg.base.contention.Watch.look", lambda watch: (0.5, 10.0))
    assert CoresWatch(Runtime(torch.device("cpu"), torch.float32)).slowdown() == 2
