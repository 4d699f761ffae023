"""Raw conditions become numbers by what the training cases showed."""

import logging

import numpy as np
import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.clinical import encoders as module
from autoseg.clinical.cells import category_text
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoded import ConditionInput, Layout, collate
from autoseg.clinical.encoders import ConditionEncoder, encode, fit_encoder
from planners.schema.conditions import ConditionSpec, ConditionTable


@pytest.fixture(autouse=True)
def _warnings_of_this_test_only():
    module._warn_once.cache_clear()


def table_of(**kinds) -> ConditionTable:
    """Specs by name: a kind, or the fields of a spec."""
    return ConditionTable(specs=tuple(ConditionSpec(name=name, **({"kind": kind} if isinstance(kind, str) else kind))
                                      for name, kind in kinds.items()))


def column(name: str, values) -> list[CaseConditions]:
    return [CaseConditions(values={name: value}) for value in values]


def fitted(kind, values) -> ConditionEncoder:
    return fit_encoder(table_of(x=kind), column("x", values))


def encoded(encoder: ConditionEncoder, value) -> tuple[list[float], list[bool]]:
    arrays = encode(encoder, CaseConditions(values={"x": value}))
    return arrays.values_K.tolist(), arrays.known_K.tolist()


def test_a_number_is_its_distance_from_the_median_in_standard_deviations():
    encoder = fitted("number", [1.0, 2.0, 9.0])  # median 2, mean 4, variance (9 + 4 + 25) / 3
    assert encoded(encoder, 9.0) == ([pytest.approx(7 / (38 / 3) ** 0.5)], [True])


def test_a_missing_number_is_the_median_and_not_known():
    encoder = fitted("number", [1.0, 2.0, None, 9.0])
    assert encoded(encoder, 2.0) == ([0.0], [True])
    assert encoded(encoder, None) == encoded(encoder, float("nan")) == ([0.0], [False])
    assert encode(encoder, CaseConditions()).known_K.tolist() == [False]


def test_an_outlier_is_cut_at_five_deviations():
    encoder = fitted("number", [1.0, 2.0, 3.0])
    assert encoded(encoder, 1e9)[0] == [5.0] and encoded(encoder, -1e9)[0] == [-5.0]


def test_numbers_unlike_those_of_training_are_one_warning_per_column():
    table = table_of(height="number", psa={"kind": "number", "transform": "log"})
    training = [CaseConditions(values={"height": height, "psa": psa})
                for height, psa in ((160.0, 1.0), (170.0, 4.0), (175.0, 10.0), (190.0, 30.0))]
    encoders = [fit_encoder(table, training), fit_encoder(table, training[1:])]
    metres = {"b": CaseConditions(values={"height": 1.8, "psa": 8.0}), "c": CaseConditions(values={"height": None}),
              "d": CaseConditions(values={"height": 1.65, "psa": 60.0})}
    [warning] = module.unlike_training(metres, encoders)
    assert warning.startswith("column height: the numbers of 2 of 3 cases lie more than 5 standard deviations from the "
                              "median of training, 172.5, and count as 5 of them: b, d; write")
    [warning] = module.unlike_training({"e": CaseConditions(values={"height": 999.0, "psa": 1e9})}, encoders)[1:]
    assert "6.32456, and count as 5 of them: e;" in warning
    assert module.unlike_training({"a": CaseConditions(values={"height": 150.0, "psa": 0.0})}, encoders) == []
    assert module.unlike_training(metres, []) == []


def test_an_outlier_in_training_leaves_the_others_apart():
    ages = [float(age) for age in range(45, 76)]
    usual, odd = (fitted("number", [*ages, *more]) for more in ((), (999.0,)))
    assert encoded(odd, 75.0)[0][0] == pytest.approx(encoded(usual, 75.0)[0][0], abs=0.1)
    assert encoded(odd, 999.0)[0] == [5.0]


def test_a_second_group_of_numbers_is_no_outlier():
    fields = [1.494, 1.5, 1.5, 1.495, 1.5, 1.494, 3.0, 3.0, 3.0, 3.0]
    values = [encoded(fitted("number", fields), field)[0][0] for field in (1.494, 1.5, 3.0)]
    assert values[1] - values[0] < 0.01 and 1 < values[2] - values[1] < 3


def test_a_constant_number_says_nothing():
    encoder = fitted("number", [0.1 + 0.2, 0.3, 0.3])
    assert encoded(encoder, 0.3) == ([0.0], [True]) and encoded(encoder, 7.0) == ([0.0], [True])


def test_a_logarithm_makes_ratios_distances():
    encoder = fitted({"kind": "number", "transform": "log"}, [1.0, 10.0, 100.0])
    low, middle, high = (encoded(encoder, value)[0][0] for value in (1.0, 10.0, 100.0))
    assert middle == 0 and high == pytest.approx(-low)


def test_zero_has_the_logarithm_of_half_the_smallest_positive_value():
    encoder = fitted({"kind": "number", "transform": "log"}, [0.0, 2.0, 4.0, 8.0])
    assert encoded(encoder, 0.0) == encoded(encoder, 1.0) == encoded(encoder, -3.0)


def test_ranks_lie_between_minus_one_and_one():
    encoder = fitted({"kind": "ordinal", "order": ("0", "1", "2")}, ["0", "2"])
    assert [encoded(encoder, value)[0] for value in ("0", 1.0, "2.0")] == [[-1.0], [0.0], [1.0]]
    assert encoded(encoder, None) == ([0.0], [False])


def test_a_rank_that_is_not_declared_counts_as_missing_and_warns(caplog):
    encoder = fitted({"kind": "ordinal", "order": ("low", "high")}, ["low", "high"])
    assert encoded(encoder, "huge") == ([0.0], [False])
    assert "'huge' is not in the order" in caplog.text


def test_categories_are_one_hot_in_sorted_order_with_other_last():
    encoder = fitted("category", ["m", "f", "f", "m", "x"])
    assert encoded(encoder, "f") == ([1.0, 0.0, 0.0], [True] * 3)
    assert encoded(encoder, "m")[0] == [0.0, 1.0, 0.0]
    assert encoded(encoder, None) == ([0.0] * 3, [False] * 3)


def test_a_category_of_a_single_case_is_other_without_a_warning(caplog):
    assert encoded(fitted("category", ["f", "f", "x"]), "x") == ([0.0, 1.0], [True] * 2)
    assert not caplog.text


def test_a_category_never_seen_is_other_with_one_warning(caplog):
    encoder = fitted("category", ["f", "f", "x"])
    with caplog.at_level(logging.WARNING):
        assert encoded(encoder, "new") == encoded(encoder, "new") == ([0.0, 1.0], [True] * 2)
    assert caplog.text.count("column x: 'new' was not seen in training") == 1


def test_a_category_in_other_letters_is_the_only_one_of_training_that_it_can_be(caplog):
    encoder = fitted("category", ["True", "True", "False", "False", "Stage"])
    with caplog.at_level(logging.WARNING):
        assert encoded(encoder, "TRUE") == encoded(encoder, "True")
    assert "column x: 'TRUE' counts as 'True'" in caplog.text
    assert encoded(encoder, "stage") == encoded(encoder, "Stage")
    two = fitted("category", ["t", "t", "T", "T"])
    assert encoded(two, "T")[0] == [1.0, 0.0, 0.0] and encoded(two, "t")[0] == [0.0, 1.0, 0.0]
    assert encoded(fitted("category", ["ab", "ab", "AB", "AB"]), "Ab")[0] == [0.0, 0.0, 1.0]


def test_other_that_no_training_case_taught_is_not_known(caplog):
    assert encoded(fitted("category", ["f", "f"]), "new") == ([0.0, 1.0], [False] * 2)
    assert "'new' was not seen" in caplog.text


def test_categories_are_those_of_the_table_reader():
    written = ["1_2", "12", "2,50", "1e3", "1000", "01", 1, 1.0, " 1.0 "]
    encoder = fitted("category", written * 2)
    assert encoder.parts[0].categories == ("1", "1000", "12", "1_2", "1e3", "2.5")
    for value in written:
        assert encoded(encoder, value) == encoded(encoder, category_text(value))
    assert encoded(encoder, "2.50")[0] == [0, 0, 0, 0, 0, 1, 0]


def test_ranks_are_those_of_the_table_reader():
    encoder = fitted({"kind": "ordinal", "order": ("01", "1_2", "2,50")}, ["1", "2.5"])
    assert [encoded(encoder, value)[0] for value in (1, "1_2", "2.5")] == [[-1.0], [0.0], [1.0]]
    assert encoded(encoder, "12")[1] == [False]


@pytest.mark.parametrize(("value", "entry"), [("1_2", 0), ("12", 0), ("1e3", 1), (1000, 1), ("2,50", 2), (2.5, 2),
                                                ("new", 3)])
def test_an_encoder_that_was_stored_before_still_compares_as_it_did(value, entry):
    stored = """{"parts": [{"kind": "category", "name": "x", "categories": ["12", "1000", "2.5"], "rare": ["7"]}]}"""
    encoder = ConditionEncoder.model_validate_json(stored)
    assert encoded(encoder, value)[0] == [float(position == entry) for position in range(4)]


def test_an_ordinal_encoder_that_was_stored_before_still_compares_as_it_did():
    stored = """{"parts": [{"kind": "ordinal", "name": "x", "order": ["1", "1000"]}]}"""
    encoder = ConditionEncoder.model_validate_json(stored)
    assert [encoded(encoder, value)[0] for value in ("01", "1e3", "1000.0")] == [[-1.0], [1.0], [1.0]]


def test_text_in_a_number_column_is_a_users_error():
    with pytest.raises(UserError, match="condition 'x': a number column holds text .found: 'old'"):
        fitted("number", [1.0, "old"])


def test_a_vector_is_standardised_entry_by_entry():
    cases = [CaseConditions(vectors={"rna": np.array([0, 5, v], np.float32)}) for v in (1, 3)]
    encoder = fit_encoder(table_of(rna="vector"), cases)
    arrays = encode(encoder, CaseConditions(vectors={"rna": np.array([9, np.nan, 4], np.float32)}))
    assert arrays.values_K.tolist() == [0.0, 0.0, 2.0]  # constant, not known, mean 2 and deviation 1
    assert arrays.known_K.tolist() == [True, False, True]


@pytest.mark.parametrize("shape", [(2,), (4,), (1, 3)])
def test_a_vector_of_another_width_says_what_was_found_and_expected(shape):
    encoder = fit_encoder(table_of(rna="vector"), [CaseConditions(vectors={"rna": np.arange(3.0)})])
    with pytest.raises(UserError, match=r"condition 'rna': the vector .*found: shape .*expected: 3 numbers"):
        encode(encoder, CaseConditions(vectors={"rna": np.zeros(shape)}))


def test_training_vectors_of_two_widths_are_a_users_error():
    cases = [CaseConditions(vectors={"rna": np.zeros(width)}) for width in (3, 4)]
    with pytest.raises(UserError, match="another width"):
        fit_encoder(table_of(rna="vector"), cases)


def test_tokens_are_standardised_feature_by_feature_over_all_tokens():
    cases = [CaseConditions(tokens={"tiles": np.array([[0.0, 1], [2, 1]])}), CaseConditions(tokens={"tiles": None})]
    arrays = encode(fit_encoder(table_of(tiles="tokens"), cases),
                    CaseConditions(tokens={"tiles": np.array([[2.0, 1], [np.nan, 1], [1, 1]])}))
    assert arrays.bags["tiles"].tokens_TE.tolist() == [[1, 0], [0, 0], [0, 0]]
    assert arrays.bags["tiles"].known_T.tolist() == [True, False, True]
    assert arrays.bags["tiles"].tokens_TE.dtype == np.float32 and arrays.values_K.shape == (0,)


def test_a_missing_or_empty_bag_is_one_token_that_is_not_known():
    encoder = fit_encoder(table_of(tiles="tokens"), [CaseConditions(tokens={"tiles": np.ones((2, 3))})])
    for bag in (None, np.zeros((0, 3))):
        arrays = encode(encoder, CaseConditions(tokens={"tiles": bag}))
        assert arrays.bags["tiles"].tokens_TE.shape == (1, 3) and arrays.bags["tiles"].known_T.tolist() == [False]


def test_a_long_bag_is_thinned_evenly_to_256_tokens():
    bag = np.arange(1021.0)[:, None]
    encoder = fit_encoder(table_of(tiles="tokens"), [CaseConditions(tokens={"tiles": bag})])
    tokens = encode(encoder, CaseConditions(tokens={"tiles": bag})).bags["tiles"].tokens_TE[:, 0]
    assert len(tokens) == 256 and tokens[0] == -tokens[-1]
    np.testing.assert_allclose(np.diff(tokens), np.diff(tokens)[0], rtol=1e-4)  # every fourth


def test_an_input_that_no_training_case_has_is_left_out_with_a_warning(caplog):
    encoder = fit_encoder(table_of(age="number", rna="vector", tiles="tokens"), column("age", [1.0, 2.0]))
    assert [one.name for one in encoder.layout.inputs] == ["age"]
    assert "no training case has rna" in caplog.text and "no training case has tiles" in caplog.text


def test_the_layout_says_where_each_input_lies():
    cases = [CaseConditions(values={"age": 1.0, "sex": "f"}, vectors={"rna": np.zeros(4)},
                            tokens={"tiles": np.zeros((2, 5))})] * 2
    encoder = fit_encoder(table_of(age="number", tiles="tokens", sex="category", rna="vector"), cases)
    assert encoder.layout == Layout(inputs=(
        ConditionInput(name="age", width=1, start=0), ConditionInput(name="tiles", width=5),
        ConditionInput(name="sex", width=2, start=1), ConditionInput(name="rna", width=4, start=3)))
    assert encode(encoder, cases[0]).values_K.shape == (encoder.layout.n_values,) == (7,)


def test_the_encoder_survives_json_and_encodes_the_same():
    rng = np.random.default_rng(0)
    cases = [CaseConditions(values={"age": float(rng.normal()), "afp": float(rng.uniform()), "sex": sex, "ecog": "1"},
                            vectors={"rna": rng.normal(size=3)}, tokens={"tiles": rng.normal(size=(4, 2))})
             for sex in ("f", "m", "f", "x")]
    encoder = fit_encoder(table_of(age="number", afp={"kind": "number", "transform": "log"}, sex="category",
                                   ecog={"kind": "ordinal", "order": ("0", "1")}, rna="vector", tiles="tokens"), cases)
    again = ConditionEncoder.model_validate_json(encoder.model_dump_json())
    assert again == encoder
    for case in cases:
        first, second = (collate([encode(one, case)]) for one in (encoder, again))
        assert all(torch.equal(a, b) for a, b in zip(first.tensors(), second.tensors(), strict=True))


def test_only_the_cases_that_are_given_teach_the_encoder():
    few, more = fitted("number", [1.0, 3.0]), fitted("number", [1.0, 3.0, 99.0])
    assert few != more


def test_a_batch_pads_bags_with_tokens_that_are_not_known():
    encoder = fit_encoder(table_of(age="number", tiles="tokens"), [
        CaseConditions(values={"age": age}, tokens={"tiles": np.array([[age]])}) for age in (1.0, 3.0)])
    batch = collate([encode(encoder, CaseConditions(values={"age": 3.0}, tokens={"tiles": np.array([[1.0], [3.0]])})),
                     encode(encoder, CaseConditions())])
    assert batch.values_BK.tolist() == [[1.0], [0.0]] and batch.known_BK.tolist() == [[True], [False]]
    assert batch.bags["tiles"].tokens_BTE.shape == (2, 2, 1)
    assert batch.bags["tiles"].known_BT.tolist() == [[True, True], [False, False]]
    assert batch.values_BK.dtype == torch.float32 and batch.known_BK.dtype == torch.bool
