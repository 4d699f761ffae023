"""Batches change their size with the very batch for which it is asked, and go on as they would have."""

import numpy as np
import pytest
import torch

from autoseg.batches.augment import build_augmentation
from autoseg.batches.loader import make_batches
from autoseg.batches.phased import PhasedStream
from autoseg.batches.store import store_cases
from batch_phantoms import LABELS, make_case, make_configuration

RESIDENT, STREAMED = 10**9, 0
SIZES = (((8, 8, 8), 3), ((12, 12, 12), 2))


def make_stream(limit_bytes, seed=0, mirror_views="random"):
    label = np.random.default_rng(0).integers(0, 3, (20, 20, 20))
    store = store_cases([make_case(label, f"case_{n}") for n in range(2)], "cpu", limit_bytes)
    return PhasedStream([
        make_batches(store, make_configuration(patch, batch=batch, augmentation="nnunet").model_copy(
            update={"mirror_views": mirror_views}), LABELS, seed, "cpu", planned_patch=SIZES[-1][0])
        for patch, batch in SIZES])


def take(stream, phases):
    taken = []
    for phase in phases:
        stream.turn_to(phase)
        taken.append(next(stream))
    return taken


def same(one, other):
    return len(one) == len(other) and all(
        torch.equal(a.image_BCDHW, b.image_BCDHW) and torch.equal(a.label_BDHW, b.label_BDHW)
        for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("limit_bytes", [RESIDENT, STREAMED])
def test_the_size_changes_with_the_batch(limit_bytes):
    stream = make_stream(limit_bytes)
    shapes = [tuple(batch.image_BCDHW.shape) for batch in take(stream, [0, 0, 0, 1, 1, 0])]
    assert shapes == [(3, 1, 8, 8, 8)] * 3 + [(2, 1, 12, 12, 12)] * 2 + [(3, 1, 8, 8, 8)]
    stream.close()


def test_reading_ahead_changes_nothing_at_a_switch():
    phases, stream = [0, 0, 0, 1, 1, 1], make_stream(STREAMED)
    assert same(take(stream, phases), take(make_stream(RESIDENT), phases))
    stream.close()


@pytest.mark.parametrize("stopped", [1, 2, 3, 4])
@pytest.mark.parametrize("limit_bytes", [RESIDENT, STREAMED])
@pytest.mark.parametrize("mirror_views", ["random", "alternating"])
def test_a_resumed_stream_continues_over_a_switch(limit_bytes, stopped, mirror_views):
    phases, stream = [0, 0, 0, 1, 1, 1], make_stream(limit_bytes, mirror_views=mirror_views)
    take(stream, phases[:stopped])
    state = stream.state_dict()
    expected = take(stream, phases[stopped:])
    resumed = make_stream(limit_bytes, seed=9, mirror_views=mirror_views)
    resumed.load_state_dict(state)
    assert same(take(resumed, phases[stopped:]), expected)
    stream.close(), resumed.close()


def test_a_small_patch_is_turned_as_the_planned_one():
    small, planned = make_configuration((8, 24, 24), augmentation="nnunet"), (8, 48, 48)
    alone = build_augmentation(small.augmentation, small, LABELS, "cpu")
    phase = build_augmentation(small.augmentation, small, LABELS, "cpu", planned_patch=planned)
    assert phase.initial_patch[0] == 8 < alone.initial_patch[0]  # the planned one turns within slices alone
