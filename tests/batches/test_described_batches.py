"""What batches say of their patients beside arrays: encoded conditions, and what was annotated."""

import numpy as np
import pytest
import torch

from autoseg.batches.sample import PatchSampler
from autoseg.batches.store import store_cases
from autoseg.clinical.encoded import EncodedBag, EncodedConditions
from autoseg.preprocessing.store import open_cases, write_prepared
from batch_phantoms import LABELS, make_case, make_configuration

# The image of a case holds its number, so that a patch says whose it is.
CASES = [make_case(np.zeros((4, 4, 4)), f"case_{k}", image_CDHW=np.full((1, 4, 4, 4), k, np.float32)) for k in range(3)]


def encoded(number, n_tokens):
    return EncodedConditions(np.array([number, 10 * number], np.float32), np.array([True, number > 0]), {
        "tiles": EncodedBag(np.full((n_tokens, 2), number, np.float32), np.ones(n_tokens, bool))})


CONDITIONS = {f"case_{k}": encoded(k, n_tokens=k + 1) for k in range(3)}


def draw(store, batch=12):
    return PatchSampler(store, make_configuration((4, 4, 4), batch=batch), LABELS, (4, 4, 4),
                        np.random.default_rng(0)).draw()


@pytest.mark.parametrize("limit_bytes", [0, 10**9])
def test_conditions_go_with_the_sample_and_bags_are_padded(limit_bytes):
    batch = draw(store_cases(CASES, "cpu", limit_bytes, conditions=CONDITIONS))
    who = batch.image_BCDHW[:, 0, 0, 0, 0]
    assert set(who.tolist()) == {0, 1, 2}
    assert torch.equal(batch.conditions.values_BK, torch.stack([who, 10 * who], dim=1))
    assert torch.equal(batch.conditions.known_BK[:, 1], who > 0)
    assert batch.conditions.bags["tiles"].tokens_BTE.shape == (12, 3, 2)
    assert torch.equal(batch.conditions.bags["tiles"].known_BT.sum(1), who.long() + 1)


def test_without_conditions_a_batch_has_none():
    assert draw(store_cases(CASES, "cpu", 10**9)).conditions is None


@pytest.mark.parametrize("limit_bytes", [0, 10**9])
def test_what_was_annotated_goes_with_the_sample(limit_bytes):
    batch = draw(store_cases(CASES, "cpu", limit_bytes, annotated={"case_1": (True, False), "case_2": (False, False)}))
    who = batch.image_BCDHW[:, 0, 0, 0, 0]
    assert torch.equal(batch.annotated_BK, torch.stack([who < 2, who < 1], dim=1))


@pytest.mark.parametrize("annotated", [None, {}, {"case_1": (True, True)}])
def test_where_all_is_annotated_a_batch_says_nothing_of_it(annotated):
    assert draw(store_cases(CASES, "cpu", 10**9, annotated=annotated)).annotated_BK is None


def test_batches_of_whole_cases_have_the_same_form_where_any_case_is_partial():
    batch = draw(store_cases(CASES, "cpu", 10**9, annotated={"case_2": (True, False)}), batch=1)
    assert batch.annotated_BK.shape == (1, 2)


def test_cases_on_the_disk_are_described_too(tmp_path):
    for case in CASES:
        write_prepared(tmp_path, case, (4, 4, 4))
    store = store_cases(open_cases(tmp_path, [case.name for case in CASES]), "cpu", 0, conditions=CONDITIONS,
                        annotated={"case_0": (False, True)})
    given = store_cases(CASES, "cpu", 10**9, conditions=CONDITIONS, annotated={"case_0": (False, True)})
    one, other = draw(store), draw(given)
    assert torch.equal(one.annotated_BK, other.annotated_BK)
    assert all(torch.equal(a, b) for a, b in zip(one.conditions.tensors(), other.conditions.tensors(), strict=True))
