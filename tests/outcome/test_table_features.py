"""The columns, vectors and bags of the conditions as blocks of features."""

import math

import numpy as np
import pytest

from autoseg.clinical.conditions import CaseConditions
from autoseg.outcome.features import table_blocks, table_layout
from planners.schema.conditions import ConditionSpec, ConditionTable

TABLE = ConditionTable(table="t.csv", specs=(
    ConditionSpec(name="age", kind="number"), ConditionSpec(name="afp", kind="number", transform="log"),
    ConditionSpec(name="sex", kind="category"), ConditionSpec(name="ecog", kind="ordinal", order=("0", "1", "2")),
    ConditionSpec(name="rna", kind="vector", folder="rna"), ConditionSpec(name="tiles", kind="tokens", folder="tiles")))


def case_of(age=None, afp=None, sex=None, ecog=None, rna=None, tiles=None) -> CaseConditions:
    return CaseConditions({"age": age, "afp": afp, "sex": sex, "ecog": ecog}, {"rna": rna}, {"tiles": tiles})


CASES = [case_of(60.0, 100.0, "f", "2", np.array([1.0, 2.0])), case_of(50.0, None, "m", "0"), case_of(None, 1.0, "f"),
         case_of(40.0, 1.0, "m"), case_of(41.0, 1.0, "x", tiles=np.array([[1.0, 5.0], [3.0, 7.0]]))]


def test_a_category_is_a_column_per_value_that_two_cases_have_and_missing_is_nan():
    blocks = table_blocks(table_layout(TABLE, CASES), CASES)
    clinical = blocks["clinical"]
    assert clinical.names == ("age", "afp", "sex=f", "sex=m", "ecog")
    assert clinical.values_NF[0] == pytest.approx([60, math.log(100), 1, 0, 2])
    assert np.isnan(clinical.values_NF[1, 1]) and clinical.values_NF[4, 2:4].tolist() == [0, 0]
    assert np.isnan(clinical.values_NF[2, 4])


def test_vectors_are_columns_and_a_bag_is_its_mean():
    blocks = table_blocks(table_layout(TABLE, CASES), CASES)
    assert blocks["vectors"].values_NF[0].tolist() == [1, 2] and np.isnan(blocks["vectors"].values_NF[1]).all()
    assert blocks["tokens"].names == ("tiles[0]", "tiles[1]") and blocks["tokens"].values_NF[4].tolist() == [2, 6]


def test_a_new_case_has_the_same_columns_whatever_it_holds():
    layout = table_layout(TABLE, CASES)
    (new,) = table_blocks(layout, [case_of(sex="other")])["clinical"].values_NF
    assert new[2:4].tolist() == [0, 0] and np.isnan(new[[0, 1, 4]]).all()


def test_a_case_of_which_nothing_is_known_has_no_block():
    assert table_blocks(table_layout(TABLE, CASES), [case_of()]) == {}
