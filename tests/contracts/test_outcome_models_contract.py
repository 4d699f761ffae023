"""What holds for every model of an outcome: it is written and restored, and bears data that are missing, constant or few."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from autoseg.outcome.models import KINDS, OUTCOME_MODELS, FittedHeader, FittedState, ModelContext, restore
from autoseg.outcome.targets import CategoryEstimate, CategoryTarget, NumberEstimate, SurvivalEstimate, SurvivalTarget
from outcome_samples import blocks_of, simulated_cox, table, targets_of
from planners.schema.base import Part

pytest.importorskip("xgboost")

N = 24
EVERY = [(name, kind) for name in OUTCOME_MODELS.names() for kind in KINDS if kind in OUTCOME_MODELS.traits(name).kinds]
QUICK = {"forest_clinical": {"trees": 20}, "forest_radiomics": {"trees": 20}, "boosting_radiomics": {"rounds": (2, 5)},
         "mlp": {"epochs": (2, 5)}, "hazards": {"epochs": (2, 5)}, "resnet_crop": {"epochs": (1, 2), "widths": (8, 8)},
         "linear_radiomics": {"components": (3, 30)}, "linear_embedding": {"components": (3, 30)}}


def model(name):
    return OUTCOME_MODELS.make(Part(name=name, options=QUICK.get(name, {})), ModelContext())


def sample(seed=0):
    x, log_hazard, survival = simulated_cox(N, seed)
    x[np.random.default_rng(seed).random(x.shape) < 0.1] = np.nan
    return blocks_of(x), targets_of(log_hazard, survival)


@functools.lru_cache
def fitted(name, kind):
    blocks, targets = sample()
    return model(name).fit(blocks, targets[kind], 0)


def arrays(estimate):
    if isinstance(estimate, SurvivalEstimate):
        return estimate.risk_N, estimate.times_T, estimate.survival_NT
    return (estimate.probability_NK,) if isinstance(estimate, CategoryEstimate) else (estimate.value_N,)


def unknown(blocks):
    return {name: replace(block, values_NF=np.full_like(block.values_NF, np.nan)) for name, block in blocks.items()}


def check(estimate, kind, n):
    """An answer of the right kind, of `n` cases, that is possible."""
    if kind == "survival":
        assert estimate.risk_N.shape == (n,) and np.isfinite(estimate.risk_N).all()
        assert estimate.survival_NT.shape == (n, len(estimate.times_T))
        assert (np.diff(estimate.survival_NT, axis=1) <= 1e-12).all() and (np.diff(estimate.times_T) > 0).all()
        assert (estimate.survival_NT >= 0).all() and (estimate.survival_NT <= 1).all()
    elif kind == "category":
        assert estimate.probability_NK.shape[0] == n and (estimate.probability_NK >= 0).all()
        np.testing.assert_allclose(estimate.probability_NK.sum(axis=1), 1)
    else:
        assert isinstance(estimate, NumberEstimate) and estimate.value_N.shape == (n,)
        assert np.isfinite(estimate.value_N).all()


def test_every_kind_of_outcome_has_a_model_and_baselines_that_always_run():
    for kind in KINDS:
        assert {"null", "linear_clinical", "linear_volume", "linear_radiomics", "forest_radiomics", "boosting_radiomics",
                "resnet_crop", "mlp"} <= {name for name, of in EVERY if of == kind}
    assert {name for name in OUTCOME_MODELS.names() if OUTCOME_MODELS.traits(name).univariate} == {"null", "linear_volume"}


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_a_restored_model_predicts_the_same(name, kind):
    state = fitted(name, kind).state()
    assert all(array.dtype.kind in "fiub" for array in state.arrays.values())  # nothing that would be pickled
    header = FittedHeader.model_validate_json(state.header.model_dump_json())
    again = restore(name, FittedState(header, {key: np.array(array) for key, array in state.arrays.items()}))
    blocks = sample(1)[0]
    for mine, theirs in zip(arrays(again.predict(blocks)), arrays(fitted(name, kind).predict(blocks)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert again.coefficients() == fitted(name, kind).coefficients()


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_the_same_seed_gives_the_same_model_and_inputs_stay(name, kind):
    blocks, targets = sample()
    before = {block: features.values_NF.copy() for block, features in blocks.items()}
    again = model(name).fit(blocks, targets[kind], 0)
    for mine, theirs in zip(arrays(again.predict(blocks)), arrays(fitted(name, kind).predict(blocks)), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    for block, features in blocks.items():
        np.testing.assert_array_equal(features.values_NF, before[block])


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_a_case_is_predicted_by_itself(name, kind):
    blocks = sample(1)[0]
    alone = fitted(name, kind).predict({block: features.take([3]) for block, features in blocks.items()})
    together = fitted(name, kind).predict(blocks)
    check(together, kind, N)
    for one, many in zip(arrays(alone), arrays(together), strict=True):
        np.testing.assert_allclose(one[0], many[3] if many.shape[0] == N else many[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_new_cases_may_lack_everything(name, kind):
    blocks = sample(1)[0]
    check(fitted(name, kind).predict(unknown(blocks)), kind, N)
    check(fitted(name, kind).predict({"another": table("another", np.zeros((2, 1)))}), kind, 2)


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_training_cases_may_lack_columns_or_have_constant_ones(name, kind):
    blocks, targets = sample()
    damaged = {}
    for block, features in blocks.items():
        values = features.values_NF.copy()
        values[:, 0], values[:, 1] = np.nan, 7.0
        damaged[block] = replace(features, values_NF=values)
    check(model(name).fit(damaged, targets[kind], 0).predict(blocks), kind, N)


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_nothing_known_of_any_case_is_still_an_answer(name, kind):
    blocks, targets = sample()
    check(model(name).fit(unknown(blocks), targets[kind], 0).predict(blocks), kind, N)


@pytest.mark.parametrize("name", [name for name, kind in EVERY if kind == "category"])
def test_a_category_without_a_training_case_has_a_finite_small_probability(name):
    blocks, _ = sample()
    target = CategoryTarget(np.zeros(N, dtype=np.int64), ("no", "yes"))
    estimate = model(name).fit(blocks, target, 0).predict(blocks)
    check(estimate, "category", N)
    assert (estimate.probability_NK[:, 1] < 0.5).all() and (estimate.probability_NK[:, 1] > 0).all()


@pytest.mark.parametrize("name", [name for name, kind in EVERY if kind == "survival"])
def test_without_an_event_all_survive(name):
    blocks, targets = sample()
    target = SurvivalTarget(targets["survival"].time_N, np.zeros(N, dtype=bool))
    estimate = model(name).fit(blocks, target, 0).predict(blocks)
    check(estimate, "survival", N)
    assert (estimate.survival_NT > 0.8).all()


@pytest.mark.parametrize(("name", "kind"), EVERY)
def test_four_cases_with_more_features_than_cases_give_an_answer(name, kind):
    blocks, targets = sample()
    rows = np.array([0, 5, 10, 15])
    few = {block: features.take(rows) for block, features in blocks.items()}
    check(model(name).fit(few, targets[kind].take(rows), 0).predict(blocks), kind, N)
