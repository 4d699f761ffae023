"""Out-of-fold estimates of simulated patients, and what may run with few events."""

import numpy as np
import pytest

from autoseg.outcome.inner import choose, stratified_folds
from autoseg.outcome.models import models_that_run
from autoseg.outcome.models.null import FittedNull, NullModel
from autoseg.outcome.nested import out_of_fold
from autoseg.outcome.targets import CategoryTarget, NumberTarget, SurvivalTarget
from outcome_samples import blocks_of, concordance, simulated_cox, table, targets_of


def test_cox_orders_simulated_patients_as_well_as_the_hazard_that_made_them():
    x, log_hazard, target = simulated_cox(300, 0)
    estimate = out_of_fold("linear_clinical", {"clinical": table("clinical", x)}, target, stratified_folds(target, 5, 0), 0)
    assert concordance(log_hazard, target) > 0.75
    assert abs(concordance(estimate.risk_N, target) - concordance(log_hazard, target)) < 0.02


def test_permuted_times_are_ordered_no_better_than_by_chance():
    x, _, target = simulated_cox(300, 0)
    permuted = target.take(np.random.default_rng(1).permutation(300))
    fold = stratified_folds(permuted, 5, 0)
    estimate = out_of_fold("linear_clinical", {"clinical": table("clinical", x)}, permuted, fold, 0)
    assert abs(concordance(estimate.risk_N, permuted) - 0.5) < 0.08


def test_noise_that_outnumbers_the_cases_orders_them_no_better_than_by_chance():
    _, _, target = simulated_cox(60, 0)
    noise = table("radiomics", np.random.default_rng(0).normal(size=(60, 500)))
    estimate = out_of_fold("linear_radiomics", {"radiomics": noise}, target, stratified_folds(target, 5, 0), 0)
    assert abs(concordance(estimate.risk_N, target) - 0.5) < 0.2


def test_survival_of_new_cases_is_calibrated():
    x, _, target = simulated_cox(300, 3)
    estimate = out_of_fold("linear_clinical", {"clinical": table("clinical", x)}, target, stratified_folds(target, 5, 0), 0)
    step = np.searchsorted(estimate.times_T, 5.0, side="right") - 1
    null = out_of_fold("null", {"clinical": table("clinical", x)}, target, stratified_folds(target, 5, 0), 0)
    assert estimate.survival_NT[:, step].mean() == pytest.approx(null.survival_NT[:, step].mean(), abs=0.03)


def test_estimates_are_in_the_order_of_the_cases():
    x, log_hazard, survival = simulated_cox(60, 0)
    targets = targets_of(log_hazard, survival)
    fold = np.random.default_rng(0).integers(0, 5, 60)
    estimate = out_of_fold("linear_clinical", {"clinical": table("clinical", x)}, targets["number"], fold, 0)
    assert np.corrcoef(estimate.value_N, log_hazard)[0, 1] > 0.99


def test_an_outer_fold_is_not_seen():
    x, log_hazard, survival = simulated_cox(40, 0)
    target, fold = targets_of(log_hazard, survival)["number"], np.repeat([0, 1], 20)
    other = NumberTarget(np.where(fold == 0, 1e3, target.value_N))
    blocks = {"clinical": table("clinical", x)}
    mine, theirs = (out_of_fold("linear_clinical", blocks, t, fold, 0).value_N for t in (target, other))
    np.testing.assert_array_equal(mine[:20], theirs[:20])
    assert not np.allclose(mine[20:], theirs[20:])


def test_a_category_that_lies_in_one_fold_alone_still_gets_an_estimate():
    x, _, _ = simulated_cox(20, 0)
    target = CategoryTarget(np.repeat([0, 1], [15, 5]), ("no", "yes"))
    estimate = out_of_fold("linear_clinical", {"clinical": table("clinical", x)}, target, np.arange(20) // 15, 0)
    assert np.isfinite(estimate.probability_NK).all() and estimate.probability_NK.shape == (20, 2)


def test_one_fold_is_refused():
    x, _, target = simulated_cox(10, 0)
    with pytest.raises(ValueError, match="need two folds, got 1"):
        out_of_fold("null", {"clinical": table("clinical", x)}, target, np.zeros(10, dtype=int), 0)


@pytest.mark.parametrize("target", [
    SurvivalTarget(np.arange(1.0, 31), np.arange(30) < 4),
    CategoryTarget((np.arange(30) < 4).astype(np.int64), ("no", "yes")), NumberTarget(np.arange(4.0))])
def test_below_five_events_only_univariate_models_run(target):
    assert models_that_run(("clinical", "volume", "radiomics", "embedding", "crop"), target) == ("linear_volume", "null")


def test_with_five_events_every_model_of_the_kind_runs_that_has_a_block():
    target = SurvivalTarget(np.arange(1.0, 31), np.arange(30) < 5)
    assert {"linear_clinical", "forest_clinical", "hazards", "mlp", "null"} == set(models_that_run(("clinical",), target))
    number = NumberTarget(np.arange(30.0))
    assert "hazards" not in models_that_run(tuple(blocks_of(np.zeros((30, 6)))), number)


def test_folds_spread_events_evenly():
    target = SurvivalTarget(np.arange(1.0, 31), np.arange(30) < 10)
    fold = stratified_folds(target, 5, 0)
    assert np.bincount(fold).tolist() == [6] * 5 and np.bincount(fold[target.event_N]).tolist() == [2] * 5


def constant(value):
    return FittedNull(NullModel(None, None).fit({}, NumberTarget(np.zeros(1)), 0).header, np.empty(0), np.array([value]))


def test_the_candidate_with_the_least_loss_on_held_out_cases_is_chosen():
    def fit_each(candidates, blocks, target, seed):
        return [constant(value) for value in candidates]

    blocks = {"volume": table("volume", np.zeros((20, 1)))}
    assert choose([0.0, 5.0, 9.0], fit_each, blocks, NumberTarget(np.full(20, 6.0)), 0) == 5.0
    assert choose([7.0, 5.0], fit_each, blocks, NumberTarget(np.full(20, 6.0)), 0) == 7.0  # equal: the first
    assert choose([0.0, 5.0], fit_each, blocks, NumberTarget(np.full(1, 6.0)), 0) == 0.0  # too few cases for folds
