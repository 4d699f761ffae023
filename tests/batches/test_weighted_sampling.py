"""Classes and cases that weigh more are drawn more often; where nothing is weighed, the same patches are drawn as ever."""

import numpy as np
import pytest
import torch

from autoseg.batches.sample import PatchSampler
from autoseg.batches.store import store_cases
from batch_phantoms import LABELS, make_case, make_configuration


def sampler_of(cases, share, weights=None, class_weights=None, seed=0):
    configuration = make_configuration((4, 4, 4), batch=10, share=share).model_copy(
        update={"class_weights": class_weights or {}})
    store = store_cases(cases, "cpu", limit_bytes=10**9, weights=weights)
    return PatchSampler(store, configuration, LABELS, (4, 4, 4), np.random.default_rng(seed))


def test_a_class_of_three_times_the_weight_is_drawn_three_times_as_often():
    label = np.zeros((40, 16, 16))
    label[2:12, 2:12, 2:12] = 1
    label[30, 5, 5] = 2
    sampler = sampler_of([make_case(label)], 1.0, class_weights={LABELS.foreground[1]: 3.0})
    rare = sum(int((sampler.draw().label_BDHW == 2).flatten(1).any(1).sum()) for _ in range(100))
    assert abs(rare - 750) < 4 * np.sqrt(1000 * 0.75 * 0.25)


@pytest.mark.parametrize(("weights", "shares"), [((1, 3), (0.25, 0.75)), ((2, 0), (1, 0)), ((5, 5), (0.5, 0.5))])
def test_cases_are_drawn_in_proportion_to_their_weights(weights, shares):
    cases = [make_case(np.zeros((4, 4, 4)), f"case_{k}", image_CDHW=np.full((1, 4, 4, 4), k, np.float32)) for k in range(2)]
    sampler = sampler_of(cases, 0.0, dict(zip(("case_0", "case_1"), map(float, weights), strict=True)))
    drawn = torch.cat([sampler.draw().image_BCDHW[:, 0, 0, 0, 0] for _ in range(100)])
    counts = torch.bincount(drawn.long(), minlength=2).numpy()
    assert np.abs(counts - 1000 * np.array(shares)).max() <= 4 * np.sqrt(1000 * 0.25)


def test_the_draw_goes_on_from_a_saved_state():
    label = np.zeros((12, 12, 12))
    label[2:5], label[8:10] = 1, 2
    sampler = sampler_of([make_case(label, name) for name in "ab"], 0.5, {"a": 0.3, "b": 4.0}, {LABELS.foreground[0]: 2.0})
    sampler.draw()
    state = sampler.get_state()
    first = sampler.draw().image_BCDHW
    sampler.set_state(state)
    assert torch.equal(first, sampler.draw().image_BCDHW)
