"""The learning rate over a training."""

import pytest

from autoseg.training.schedule import learning_rate
from planners.schema.plan import ResolvedSchedule


def schedule(**values) -> ResolvedSchedule:
    return ResolvedSchedule(**{"iterations": 1000, "learning_rate": 0.1, **values})


def test_poly_is_nnunets():
    assert learning_rate(schedule(decay="poly"), 0) == pytest.approx(0.1)
    assert learning_rate(schedule(decay="poly"), 500) == pytest.approx(0.1 * 0.5**0.9)


def test_cosine_is_half_at_half_time():
    assert learning_rate(schedule(decay="cosine"), 500) == pytest.approx(0.05)


@pytest.mark.parametrize("decay", ["poly", "cosine"])
def test_both_end_at_zero(decay):
    assert learning_rate(schedule(decay=decay), 999) < 0.1 * 0.003


def test_warm_up_is_linear():
    warm = [learning_rate(schedule(warmup_iterations=9, decay="cosine"), i) for i in range(3)]
    assert warm == pytest.approx([0.01, 0.02, 0.03], rel=1e-3)


def test_stable_is_constant_until_the_decay_and_then_falls_with_the_root():
    rates = [learning_rate(schedule(decay="stable", decay_share=0.25), i) for i in (0, 500, 750, 812.5, 999)]
    assert rates[:3] == pytest.approx([0.1] * 3)
    assert rates[3] == pytest.approx(0.1 * (1 - 0.25**0.5))  # a quarter of the decay
    assert rates[4] < 0.1 * 0.003


def test_before_its_decay_a_stable_rate_does_not_depend_on_the_end():
    short, long = schedule(decay="stable"), schedule(decay="stable", iterations=5000)
    assert [learning_rate(short, i) for i in range(750)] == [learning_rate(long, i) for i in range(750)]
