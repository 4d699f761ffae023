"""The probe of a machine's speed, without asking how fast it is."""

import torch

from autoseg.base.runtime import Runtime
from autoseg.planning import speed
from autoseg.planning.speed import measured_speed

CPU = Runtime(torch.device("cpu"), torch.float32)


def test_every_part_of_a_step_is_measured(monkeypatch):
    monkeypatch.setattr(speed, "_SECONDS", 0.0)
    state = torch.get_rng_state()
    found = measured_speed(CPU)
    assert [rate.size for rate in found.solid] == [rate.size for rate in found.flat] == [2, 16, 32, 64, 128]
    assert len(found.maps) == 2 and found.maps[0].size < found.maps[1].size
    assert 0 < found.strided <= 1 and found.seconds_per_layer > 0 and found.seconds_per_logit > 0
    assert torch.equal(state, torch.get_rng_state())


def test_the_fastest_run_counts(monkeypatch):
    ticks = iter([0, 5, 5, 7, 7, 10])
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(speed, "_RUNS", (3, 3))
    assert speed._Probe(CPU)._seconds(torch.nn.Identity(), 1, (2, 2)) == 2
