"""All scores of a model and the difference of two; what is not defined says why; warnings name their numbers."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from autoseg.evaluation.outcome_scores import OutcomeScores
from autoseg.evaluation.resampling import bootstrapped
from autoseg.evaluation.survival import concordance, concordance_of
from autoseg.outcome.compare import compare
from autoseg.outcome.score import score, span_of
from autoseg.outcome.targets import (
    CategoryEstimate,
    CategoryTarget,
    NumberEstimate,
    NumberTarget,
    SurvivalEstimate,
    SurvivalTarget,
)

TIMES = np.linspace(0.1, 3, 25)


def contains_chance(score) -> bool:
    return score.low <= 0.5 <= score.high


def patients(n=80, seed=0, effect=1.0):
    """Patients with a known hazard, and the estimate that knows it."""
    rng = np.random.default_rng(seed)
    risk_N = effect * rng.normal(size=n)
    event_time_N, end_N = rng.exponential(np.exp(-risk_N)), rng.exponential(1.5, n)
    target = SurvivalTarget(np.minimum(event_time_N, end_N) + 0.01, event_time_N <= end_N)
    return target, SurvivalEstimate(risk_N, TIMES, np.exp(-np.exp(risk_N)[:, None] * TIMES))


def categories(n=60, names=("no", "yes"), seed=0):
    rng = np.random.default_rng(seed)
    code_N = np.arange(n) % len(names)
    probability_NK = rng.dirichlet(np.ones(len(names)), n) + 0.4 * np.eye(len(names))[code_N]
    return CategoryTarget(code_N, names), CategoryEstimate(probability_NK / probability_NK.sum(axis=1, keepdims=True))


def numbers(n=40, seed=0):
    value_N = np.random.default_rng(seed).normal(size=n)
    return NumberTarget(value_N), NumberEstimate(value_N + np.random.default_rng(seed + 1).normal(size=n))


@pytest.mark.parametrize("case", [patients, categories, lambda: categories(names=("a", "b", "c")), numbers])
def test_scores_are_the_same_after_writing_and_reading(case):
    target, estimate = case()
    scores = score(target, estimate, seed=0, fold_N=np.arange(len(target)) % 5)
    assert TypeAdapter(OutcomeScores).validate_json(scores.model_dump_json()) == scores
    assert scores.n_cases == len(target) and scores.warnings == ()


def test_survival_has_all_its_scores_with_intervals():
    target, estimate = patients()
    scores = score(target, estimate, seed=0)
    everything = [scores.concordance, scores.concordance_ipcw, scores.integrated_brier, scores.calibration.slope,
                  *(at.score for at in scores.auc + scores.brier)]
    assert len(everything) == 4 + 3 + 3
    assert all(entry.low < entry.value < entry.high and not entry.reason for entry in everything)
    assert scores.risk_groups.log_rank.p < 0.01 and scores.n_events == target.event_N.sum()
    assert scores.permutation.p < 0.01 and contains_chance(scores.permutation)


def test_shuffled_outcomes_give_intervals_that_contain_chance_as_often_as_they_say():
    target, estimate = patients(40)
    answers = []
    for seed in range(60):
        order = np.random.default_rng(seed).permutation(40)
        time_N, event_N = target.time_N[order], target.event_N[order]
        statistic = concordance_of(time_N, event_N, estimate.risk_N)
        answers.append(contains_chance(bootstrapped(statistic, event_N, n_draws=200)))
    assert np.mean(answers) > 0.88  # 0.95 of 60, less two and a half standard errors


def test_the_index_of_the_known_hazard_is_that_of_many_patients():
    (many, many_risks), (few, few_risks) = patients(3000, seed=2), patients(300, seed=1)
    expected = concordance_of(many.time_N, many.event_N, many_risks.risk_N)(np.ones((1, 3000)))[0]
    known = concordance(few.time_N, few.event_N, few_risks.risk_N)
    assert known.low < expected < known.high and known.value == pytest.approx(expected, abs=0.02)


def test_two_categories_are_scored_by_the_second_and_three_by_each():
    target, estimate = categories()
    scores = score(target, estimate, seed=0)
    assert [entry.name for entry in scores.categories] == ["yes"] and scores.auroc == scores.categories[0].auroc
    assert scores.categories[0].prevalence == 0.5
    three = score(*categories(names=("a", "b", "c")), seed=0)
    assert [entry.name for entry in three.categories] == ["a", "b", "c"]
    assert three.auroc.value == pytest.approx(np.mean([entry.auroc.value for entry in three.categories]))
    assert contains_chance(three.permutation) and three.permutation.p < 0.01


def test_few_events_and_small_categories_are_named_with_their_number():
    target, estimate = patients()
    few = SurvivalTarget(target.time_N, target.event_N & (np.cumsum(target.event_N) <= 7))
    assert score(few, estimate, seed=0).warnings[0].startswith("7 events: with fewer than 10")
    target, estimate = categories()
    target = CategoryTarget((np.arange(60) == 3).astype(int), ("no", "yes"))
    scores = score(target, estimate, seed=0)
    assert scores.warnings[0].startswith("1 case of yes: with fewer than 10")
    assert scores.auroc.value is not None and scores.auroc.low is None and "single case" in scores.auroc.reason
    assert score(*numbers(9), seed=0).warnings[0].startswith("9 cases:")


def test_scores_that_are_too_good_warn_of_leakage():
    target, _ = patients()
    knows = SurvivalEstimate(-target.time_N, TIMES, np.full((80, 25), 0.5))
    assert "C-index 1.000 is above 0.85: suspect leakage" in score(target, knows, seed=0).warnings[0]
    target, _ = categories()
    knows = CategoryEstimate(np.eye(2)[target.code_N])
    assert "AUROC 1.000 is above 0.95: suspect leakage" in score(target, knows, seed=0).warnings[0]


def values(scores):
    """Every score of the object and of its parts, with its reason."""
    if isinstance(scores, dict):
        if "value" in scores and "reason" in scores:
            return [(scores["value"], scores["reason"])]
        return [entry for part in scores.values() for entry in values(part)]
    return [entry for part in scores for entry in values(part)] if isinstance(scores, list | tuple) else []


@pytest.mark.parametrize(("change", "reason"), [
    (lambda t, e: (SurvivalTarget(t.time_N, np.zeros(80, bool)), e), "no case has the event"),
    (lambda t, e: (t, SurvivalEstimate(np.zeros(80), TIMES, e.survival_NT)), "the risk is the same for all cases"),
    (lambda t, e: (t, SurvivalEstimate(np.where(np.arange(80) < 3, np.nan, 0), TIMES, e.survival_NT)), "3 of 80 cases"),
    (lambda t, e: (t.take([]), SurvivalEstimate(np.zeros(0), TIMES, np.zeros((0, 25)))), "no case has the event")])
def test_survival_that_has_no_index_says_why(change, reason):
    scores = score(*change(*patients()), seed=0)
    assert scores.concordance.value is None and reason in scores.concordance.reason
    assert reason in scores.permutation.reason and scores.permutation.p is None
    assert all(value is not None or why for value, why in values(scores.model_dump()))
    assert "NaN" not in scores.model_dump_json()


@pytest.mark.parametrize("seed", range(25))
def test_few_and_odd_cases_never_give_a_silent_number(seed):
    """Up to seven cases with ties, constants, folds of one case and values that are not finite."""
    rng = np.random.default_rng(seed)
    n, fold_N = int(rng.integers(0, 8)), None
    if seed % 2:
        fold_N = rng.integers(0, 3, n)
    values_N = rng.choice([0.2, 0.2, 0.5, 0.9, np.nan] if seed % 5 == 0 else [0.2, 0.2, 0.5, 0.9], n)
    survival = SurvivalTarget(rng.integers(1, 4, n).astype(float), rng.random(n) < 0.5)
    category = CategoryTarget(rng.integers(0, 2, n), ("no", "yes"))
    pairs = [(survival, SurvivalEstimate(values_N, np.array([1.0, 2, 3]), np.stack([values_N] * 3, axis=1))),
             (category, CategoryEstimate(np.stack([1 - values_N, values_N], axis=1))),
             (NumberTarget(rng.integers(0, 3, n).astype(float)), NumberEstimate(values_N))]
    for target, estimate in pairs:
        scores = score(target, estimate, seed=0, fold_N=fold_N)
        assert all(value is not None or reason for value, reason in values(scores.model_dump()))
        assert "NaN" not in scores.model_dump_json() and "Infinity" not in scores.model_dump_json()
        for difference in compare(target, estimate, estimate, seed=0, fold_N=fold_N):
            assert difference.difference == 0 or difference.reason


def test_a_survival_that_is_not_a_number_leaves_the_index_alone():
    target, estimate = patients()
    broken = SurvivalEstimate(estimate.risk_N, TIMES, np.full((80, 25), np.nan))
    scores = score(target, broken, seed=0)
    assert scores.concordance.value is not None
    assert all("80 of 80" in entry.score.reason for entry in scores.brier) and "80 of 80" in scores.integrated_brier.reason
    assert "80 of 80" in scores.calibration.reason and "NaN" not in scores.model_dump_json()


def test_a_model_without_times_has_an_index_and_no_brier_score():
    target, estimate = patients()
    scores = score(target, SurvivalEstimate(estimate.risk_N, np.zeros(0), np.zeros((80, 0))), seed=0)
    assert scores.concordance.value is not None and scores.brier == () and scores.brier_span is None
    assert "no span" in scores.integrated_brier.reason and "no time" in scores.calibration.reason


def test_one_category_alone_has_no_score_and_says_why():
    _, estimate = categories()
    scores = score(CategoryTarget(np.zeros(60, int), ("no", "yes")), estimate, seed=0)
    assert scores.auroc.reason == "no case has the category" and scores.categories[0].roc is None
    assert scores.brier.reason == "all cases have the same category" and scores.permutation.reason


def test_a_constant_number_has_no_correlation():
    scores = score(NumberTarget(np.ones(12)), NumberEstimate(np.arange(12.0)), seed=0)
    assert "the number is the same" in scores.rank_correlation.reason == scores.permutation.reason
    assert scores.mean_absolute_error.value == pytest.approx(4.666667)


def test_a_better_model_differs_from_a_worse_one_and_not_from_itself():
    target, estimate = patients()
    noise_N = np.random.default_rng(5).normal(size=80)
    worse = SurvivalEstimate(noise_N, TIMES, np.full((80, 25), 0.5))
    order, error = compare(target, estimate, worse, seed=0)
    assert (order.score, order.better) == ("C-index", "higher") and order.low > 0 and order.p_bootstrap < 0.05
    assert (error.score, error.better) == ("integrated Brier score", "lower") and error.high < 0
    assert [difference.difference for difference in compare(target, estimate, estimate, seed=0)] == [0, 0]


def test_two_categories_have_delongs_test_and_three_have_not():
    target, estimate = categories()
    other = categories(seed=9)[1]
    order, error = compare(target, estimate, other, seed=0)
    assert 0 < order.p_delong <= 1 and error.p_delong is None
    assert order.difference == pytest.approx(score(target, estimate, seed=0).auroc.value
                                             - score(target, other, seed=0).auroc.value)
    target, estimate = categories(names=("a", "b", "c"))
    assert compare(target, estimate, estimate, seed=0)[0].p_delong is None


def test_numbers_are_compared_by_ranks_and_errors():
    target, estimate = numbers()
    order, error = compare(target, estimate, NumberEstimate(np.zeros(40)), seed=0)
    assert "the second model: the prediction is the same" in order.reason
    assert error.better == "lower" and error.difference == pytest.approx(error.value_a - error.value_b)


def test_kinds_and_lengths_that_do_not_fit_are_refused():
    target, estimate = patients()
    with pytest.raises(ValueError, match="no estimate of a SurvivalTarget"):
        score(target, NumberEstimate(np.zeros(80)), seed=0)
    with pytest.raises(ValueError, match="80 cases, but arrays of 79 rows"):
        score(target, NumberEstimate(np.zeros(79)), seed=0)
    with pytest.raises(ValueError, match="no estimates of a SurvivalTarget"):
        compare(target, estimate, NumberEstimate(np.zeros(80)), seed=0)
    with pytest.raises(ValueError, match="4 and 80"):
        score(target, estimate, seed=0, fold_N=np.zeros(4))


def test_the_span_of_the_integral_ends_with_the_shortest_model():
    target, _ = patients()
    assert span_of(target, TIMES, TIMES[:5])[-1] == pytest.approx(min(TIMES[4], target.time_N.max()))
    assert span_of(target, TIMES, np.zeros(0)).size == 0
