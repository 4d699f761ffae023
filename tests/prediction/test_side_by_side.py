"""Passes of a prediction side by side give what one after another gives, whatever thread is faster."""

import logging
import random
import threading
import time

import numpy as np
import pytest
import torch
from torch import nn

from autoseg.base.runtime import Runtime
from autoseg.nn.model import build_model
from autoseg.prediction import memory_plan as memory_plan_module
from autoseg.prediction.memory_plan import MemoryPlan, PredictionMemory, bytes_of_pass
from autoseg.prediction.prepared import maybe_foreground
from autoseg.prediction.watch import Cancelled
from autoseg.prediction.window import predict_logits
from predict_phantoms import CASE, member_of, predictor_of
from tests_support import SPHERES, small_plan

CPU = Runtime(torch.device("cpu"), torch.float32)
PLAN = small_plan(labels=SPHERES, mirror_axes=(0, 1, 2))
CONFIGURATION = PLAN.configurations["3d_fullres"]


@pytest.fixture
def threads():
    """Chooses the number of threads that torch takes, until the test ends."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return CPU.arranged(build_model(PLAN, CONFIGURATION), 3).eval()


def noise(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


class Watched(nn.Module):
    """Notes in which threads passes are made, how large, and the most at the same time; each takes its own time."""

    def __init__(self, model=None, most_seconds=0.01):
        super().__init__()
        self.model, self.most_seconds, self.random = model, most_seconds, random.Random(0)
        self.lock, self.now, self.most, self.threads, self.batches = threading.Lock(), 0, 0, set(), []

    def forward(self, image, *rest):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
            self.threads.add(threading.current_thread())
            self.batches.append((len(image), torch.get_num_threads()))
            seconds = self.random.uniform(0, self.most_seconds)
        time.sleep(seconds)
        try:
            return image if self.model is None else self.model(image, *rest)
        finally:
            with self.lock:
                self.now -= 1


@pytest.mark.parametrize("at_once", [1, 2])
def test_the_same_bits_as_one_after_another_whatever_is_ready_first(threads, network, at_once):
    image, logits = noise(1, 24, 16, 16), []
    for n in (1, 2, 4, 4):
        threads(n)
        watched = Watched(network)
        logits.append(predict_logits(watched, image, CONFIGURATION, CPU, at_once=at_once))
        assert (watched.most > 1) == (n > 1)
        assert len(watched.batches) == 16 // at_once
    assert all(torch.equal(logits[0], other) for other in logits[1:])


def test_batches_are_as_small_as_it_takes_for_every_thread_to_have_one(threads, network):
    image, logits = noise(1, 16, 16, 16), []
    for n in (1, 2, 3):
        threads(n)
        watched = Watched(network)
        logits.append(predict_logits(watched, image, CONFIGURATION, CPU))
        assert sorted(watched.batches) == {1: [(8, 1)], 2: [(4, 1)] * 2, 3: [(2, 1), (3, 1), (3, 1)]}[n]
    for other in logits[1:]:
        torch.testing.assert_close(other, logits[0], atol=1e-5, rtol=1e-5)


def test_the_passes_of_the_last_round_share_all_threads(threads, network):
    threads(5)
    watched = Watched(network)
    predict_logits(watched, noise(1, 16, 16, 16), CONFIGURATION, CPU, at_once=1, mirror_axes=(0,))
    assert watched.batches == [(1, 2)] * 2  # two passes, two threads each
    watched = Watched(network)
    predict_logits(watched, noise(1, 16, 16, 16), CONFIGURATION, CPU, mirror_axes=())
    assert watched.batches == [(1, 5)] and watched.threads == {threading.current_thread()}
    watched = Watched(network)
    predict_logits(watched, noise(1, 40, 16, 16), CONFIGURATION, CPU, at_once=1, mirror_axes=(0, 1, 2))
    assert sorted(watched.batches) == [(1, 1)] * 30 + [(1, 2)] * 2  # 32 passes


def test_large_tiles_are_predicted_one_after_another(threads, network, monkeypatch):
    threads(2)
    for largest, side_by_side in ((16**3, True), (16**3 - 1, False)):
        monkeypatch.setattr("autoseg.prediction.window._LARGEST_SIDE_BY_SIDE", largest)
        watched = Watched(network)
        predict_logits(watched, noise(1, 16, 16, 16), CONFIGURATION, CPU)
        assert watched.batches == ([(4, 1), (4, 1)] if side_by_side else [(8, 2)])


def test_fewer_side_by_side_where_the_memory_is_short(threads, network, monkeypatch, caplog):
    threads(4)
    need = bytes_of_pass(CONFIGURATION, 1, 3, 1)
    for free, most, each in ((100 * need, 4, 1), (5 * need, 2, 2), (0, 1, 4)):
        monkeypatch.setattr(memory_plan_module, "free_host_bytes", lambda free=free: free)
        watched = Watched(network)
        with caplog.at_level(logging.INFO, logger="autoseg.prediction.memory_plan"):
            predict_logits(watched, noise(1, 16, 16, 16), CONFIGURATION, CPU, at_once=1, n_heads=3)
        assert watched.most <= most
        assert watched.batches == [(1, each)] * 8  # of four threads, so many for each pass
        assert (f"{most} of 4 passes side by side" in caplog.text) == (most < 4)


def test_passes_side_by_side_never_take_more_than_eight_gib(monkeypatch):
    monkeypatch.setattr(memory_plan_module, "free_host_bytes", lambda: 2**50)
    assert [PredictionMemory().side_by_side(64, n * 2**30) for n in (1, 3, 9)] == [8, 2, 1]


def test_a_pass_needs_at_least_what_its_maps_and_logits_take():
    one, two = bytes_of_pass(CONFIGURATION, 1, 3, 1), bytes_of_pass(CONFIGURATION, 1, 3, 2)
    assert two == 2 * one > 2 * 4 * 16**3 * (4 * CONFIGURATION.architecture.features[0] + 3)


class ShortOfMemory(Watched):
    """Has no memory for two passes at the same time."""

    def forward(self, image, *rest):
        with self.lock:
            if self.now:
                raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12 bytes")
        return super().forward(image, *rest)


def test_where_the_memory_fails_all_the_same_passes_are_made_one_after_another_from_then_on(threads, caplog):
    threads(2)
    memory, image = PredictionMemory(), noise(1, 16, 16, 16)
    for _ in range(2):
        model = ShortOfMemory(most_seconds=0.05)
        with caplog.at_level(logging.WARNING):
            logits = predict_logits(model, image, CONFIGURATION, CPU, at_once=1, memory=memory)
        torch.testing.assert_close(logits, torch.from_numpy(image))
    assert model.threads == {threading.current_thread()}
    assert len(caplog.records) == 1 and "predicting 1 tile at a time" in caplog.text
    assert memory.plans(4, torch.device("cpu"), 2) == [MemoryPlan(1, torch.device("cpu"))]


def test_before_one_after_another_side_by_side_is_tried():
    host = torch.device("cpu")
    assert PredictionMemory().plans(2, host, 3) == [MemoryPlan(2, host, 3), MemoryPlan(2, host), MemoryPlan(1, host)]


class Faulty(nn.Module):
    """Raises in its third pass."""

    def __init__(self):
        super().__init__()
        self.passes = 0

    def forward(self, image, *rest):
        self.passes += 1
        if self.passes == 3:
            raise ZeroDivisionError("of the model")
        return image


@pytest.mark.parametrize("n", [1, 2])
def test_an_error_of_the_model_is_the_same_and_leaves_nothing_behind(threads, n):
    threads(n)
    before, model = threading.active_count(), Faulty()
    with pytest.raises(ZeroDivisionError, match="of the model"):
        predict_logits(model, noise(1, 40, 16, 16), CONFIGURATION, CPU, at_once=1)
    assert model.passes < 8  # of 32
    assert (threading.active_count(), torch.get_num_threads()) == (before, n)


def test_progress_is_told_in_order_and_by_the_calling_thread(threads, network):
    threads(3)
    seen = []
    predict_logits(Watched(network), noise(1, 16, 16, 16), CONFIGURATION, CPU, at_once=1,
                   progress=lambda done, total: seen.append((done, total, threading.current_thread())))
    assert seen == [(done, 8, threading.current_thread()) for done in range(1, 9)]


def test_a_cancelled_prediction_ends_soon_and_the_next_is_whole(threads):
    threads(2)
    predictor = predictor_of()
    expected = predictor.predict(CASE).label_DHW
    cancel, model = threading.Event(), Watched(predictor.members[0].models[0].model)
    member = predictor.members[0]
    member.models = (type(member.models[0])(model),)
    with pytest.raises(Cancelled):
        predictor.predict(CASE, progress=lambda done, total: cancel.set() if done else None, cancel=cancel)
    assert model.now == 0
    assert np.array_equal(predictor.predict(CASE).label_DHW, expected)


def test_a_coarse_pass_and_half_precision_are_as_one_after_another(threads, network, monkeypatch):
    image, results = noise(1, 60, 16, 16), []
    for n in (1, 2):
        threads(n)
        coarse = predict_logits(network, image, CONFIGURATION, CPU, at_once=1, maybe=maybe_foreground(PLAN.labels))
        with monkeypatch.context() as patch:
            patch.setattr(memory_plan_module, "_LARGE_BYTES", 0)
            halved = predict_logits(network, image, CONFIGURATION, CPU, at_once=1)
        assert halved.dtype == torch.float16
        results.append((coarse, halved))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_several_folds_are_as_one_after_another(threads):
    masks = []
    for n in (1, 2):
        threads(n)
        several = predictor_of(0, 3)
        masks.append(several.predict(CASE, uncertainty=True))
    assert np.array_equal(masks[0].label_DHW, masks[1].label_DHW)
    np.testing.assert_allclose(masks[0].entropy_DHW, masks[1].entropy_DHW, atol=1e-4)


def test_the_heads_are_in_the_estimate(threads, monkeypatch):
    threads(2)
    asked = []
    monkeypatch.setattr("autoseg.prediction.window.bytes_of_pass", lambda *of: asked.append(of) or 1)
    member = member_of()
    member.logits(member.prepare_all(CASE), CASE)
    assert asked == [(member.configuration, 1, member.plan.labels.n_heads, asked[0][3])]
