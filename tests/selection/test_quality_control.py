"""What is learned of predicted Dice: rules on numbers, and on balls whose softness tells how wrong they are."""

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.evaluation.score import score_case
from autoseg.selection.cases import cases_of
from autoseg.selection.gather import gather, read_cross_validation
from autoseg.selection.quality_control import correlation, fit_quality_control, fit_rule, review_below
from folds_support import BALL, DATASET, ball, truth


def dice_of(cases):
    truths = [case.read_truth() for case in cases]
    return [score_case(truth, case.read_mask(), case.labels, geometry.spacing_mm, case.name).mean_dice
            for case, (truth, geometry) in zip(cases, truths, strict=True)]


def learned_of(balls):
    dataset = read_cross_validation(balls.workspace, DATASET)
    (contender,), _ = gather(balls.workspace, dataset)
    cases = cases_of(dataset, [contender])
    return fit_quality_control(cases, [contender.fold_of[case.name] for case in cases], dice_of(cases), 1)


def shrinking(index: int) -> np.ndarray:
    """The worse a mask, the softer: case 0 is right, case 14 finds half of the radius."""
    return ball(3.5 - index / 8, 0.1 + index / 20)


def test_the_rule_is_the_line_through_the_cases():
    rule = fit_rule(np.array([0.5, 0.7, 0.9]), np.array([0.4, 0.6, 0.8]))
    assert (rule.intercept, rule.slope) == pytest.approx((-0.1, 1.0))


def test_more_expected_dice_never_means_less():
    rule = fit_rule(np.array([0.5, 0.7, 0.9]), np.array([0.9, 0.7, 0.5]))
    assert (rule.slope, rule.intercept) == pytest.approx((0.0, 0.7))
    constant = fit_rule(np.full(3, 0.8), np.array([0.9, 0.7, 0.5]))
    assert (constant.slope, constant.intercept) == pytest.approx((0.0, 0.7))


def test_the_limit_lies_between_the_bad_and_the_good():
    true = np.array([0.1, *np.linspace(0.8, 0.9, 9)])
    predicted = np.array([0.3, *np.linspace(0.7, 0.9, 9)])
    assert review_below(predicted, true) == pytest.approx(0.5)


def test_a_false_alarm_is_accepted_where_it_finds_a_bad_case():
    true = np.array([0.1, 0.9, *np.full(8, 0.8)])
    predicted = np.array([0.5, 0.4, *np.linspace(0.7, 0.9, 8)])
    assert review_below(predicted, true) == pytest.approx(0.6)


def test_where_nothing_can_be_told_the_lowest_are_looked_at():
    assert review_below(np.full(10, 0.8), np.linspace(0, 1, 10)) == pytest.approx(0.8)


def test_correlation_needs_values_that_vary():
    assert correlation(np.array([1.0, 2, 3]), np.array([2.0, 4, 6])) == pytest.approx(1)
    assert correlation(np.array([1.0, 1, 1]), np.array([2.0, 4, 6])) is None
    assert correlation(np.array([1.0, 2]), np.array([2.0, 4])) is None


def test_softness_that_tells_the_error_is_learned(copied):
    balls = copied("trained")
    balls.model(shrinking)
    learned = learned_of(balls)
    assert learned.quality_control.correlation > 0.9
    assert learned.quality_control.n == 15
    assert learned.quality_control.slope > 0
    assert (learned.cases[0].needs_review, learned.cases[-1].needs_review) == (False, True)
    assert learned.calibration.error_after <= learned.calibration.error_before + 1e-3
    assert learned.notes == ()


def test_a_case_is_judged_by_rules_that_never_saw_its_fold(copied):
    """One fold's truths are changed: what is said of its cases stays, what is said of others does not."""
    balls = copied("trained")
    balls.model(shrinking)
    before = learned_of(balls)
    dataset = read_cross_validation(balls.workspace, DATASET)
    (contender,), _ = gather(balls.workspace, dataset)
    cases = cases_of(dataset, [contender])
    folds = [contender.fold_of[case.name] for case in cases]
    wrong = [0.1 if fold == "2" else dice for dice, fold in zip(dice_of(cases), folds, strict=True)]
    after = fit_quality_control(cases, folds, wrong, 1)
    changed = [a.predicted_dice != b.predicted_dice for a, b in zip(before.cases, after.cases, strict=True)]
    assert changed == [fold != "2" for fold in folds]


def test_few_cases_teach_nothing(untrained):
    untrained.model(shrinking)
    dataset = read_cross_validation(untrained.workspace, DATASET)
    (contender,), _ = gather(untrained.workspace, dataset)
    cases = cases_of(dataset, [contender])
    folds = [contender.fold_of[case.name] for case in cases]
    learned = fit_quality_control(cases, folds, [None, *[0.5 + i / 20 for i in range(9)]], 1)
    assert learned.quality_control is None
    assert "9 cases are too few" in learned.notes[0]
    assert learned.calibration.n_voxels > 0


def test_damaged_probabilities_are_named(trained):
    path = trained.fold(1).probabilities("case_06")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(UserError, match="case_06.b2nd: the probabilities are damaged"):
        learned_of(trained)


def test_true_dice_of_the_phantoms_falls():
    """So that the tests above test what they say."""
    dice = [score_case(truth(), shrinking(i).argmax(0).astype(np.uint8), BALL, (1.0, 1.0, 1.0), "x").mean_dice
            for i in (0, 7, 14)]
    assert dice[0] == 1.0
    assert dice[0] > dice[1] > dice[2]
