"""Batches without end: reproducible, continued exactly, with or without a thread that reads prefetch."""

import gc
import io
import threading
import time

import numpy as np
import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.batches.loader import make_batches
from autoseg.batches.store import store_cases
from batch_phantoms import LABELS, make_case, make_configuration

RESIDENT, STREAMED = 10**9, 0


def make_stream(limit_bytes, *, seed=0, augmentation="nnunet", cases=None):
    label = np.random.default_rng(0).integers(0, 3, (20, 20, 20))
    store = store_cases(cases or [make_case(label)], "cpu", limit_bytes)
    configuration = make_configuration((8, 8, 8), batch=2, augmentation=augmentation)
    return make_batches(store, configuration, LABELS, seed, "cpu")


def take(stream, count):
    return [next(stream).image_BCDHW for _ in range(count)]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def reading_threads():
    return [thread for thread in threading.enumerate() if thread.name == "batches"]


def test_the_seed_decides_the_batches():
    first = take(make_stream(RESIDENT), 4)
    assert same(first, take(make_stream(RESIDENT), 4))
    assert not same(first, take(make_stream(RESIDENT, seed=1), 4))


def test_reading_ahead_changes_nothing():
    stream = make_stream(STREAMED)
    assert same(take(stream, 6), take(make_stream(RESIDENT), 6))
    stream.close()


@pytest.mark.parametrize("limit_bytes", [RESIDENT, STREAMED])
def test_a_resumed_stream_continues_as_the_uninterrupted_one(limit_bytes):
    stream = make_stream(limit_bytes)
    take(stream, 3)
    time.sleep(0.1)  # let a reading thread run prefetch
    saved = io.BytesIO()
    torch.save(stream.state_dict(), saved)
    expected = take(stream, 4)
    saved.seek(0)
    resumed = make_stream(limit_bytes, seed=5)
    take(resumed, 1)
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    assert same(expected, take(resumed, 4))
    stream.close(), resumed.close()


def test_a_closed_stream_goes_on_after_the_last_batch_that_was_handed_out():
    expected = take(make_stream(RESIDENT), 6)
    stream = make_stream(STREAMED)
    first = take(stream, 3)
    stream.close()
    assert not reading_threads()
    assert same(expected, first + take(stream, 3))
    stream.close()


def test_a_dropped_stream_ends_its_thread():
    stream = make_stream(STREAMED)
    next(stream)
    assert len(reading_threads()) == 1
    del stream
    gc.collect()
    deadline = time.monotonic() + 5
    while reading_threads() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not reading_threads()


def test_an_error_of_the_reading_thread_reaches_the_caller_again_and_again():
    class Broken:
        shape, dtype = (1, 9, 9, 9), np.dtype(np.float32)

        def __getitem__(self, window):
            raise RuntimeError("bad chunk")

    case = make_case(np.zeros((9, 9, 9)), "case_7", image_CDHW=Broken())
    stream = make_stream(STREAMED, cases=[case])
    for _ in range(3):
        with pytest.raises(UserError, match="case_7"):
            next(stream)


def test_without_augmentation_patches_are_cut_out_of_the_case():
    batch = next(make_stream(RESIDENT, augmentation="none"))
    steps = batch.image_BCDHW[:, 0].diff(dim=-1)  # the phantom's voxels are numbered
    assert batch.image_BCDHW.shape == (2, 1, 8, 8, 8) and (steps == 1).all()


def test_global_random_state_is_neither_used_nor_changed():
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    before = np.random.get_state()[1].copy(), torch.get_rng_state()  # noqa: NPY002
    first = take(make_stream(RESIDENT), 5)
    assert np.array_equal(before[0], np.random.get_state()[1]) and torch.equal(before[1], torch.get_rng_state())  # noqa: NPY002
    torch.manual_seed(4)
    assert same(first, take(make_stream(RESIDENT), 5))
