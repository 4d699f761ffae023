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
