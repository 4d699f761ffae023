"""What `--modality` says, as a condition."""

import pytest

from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoders import CategoryEncoder, ConditionEncoder
from autoseg.prediction.modality import conditions_with_modality
from tests_support import small_plan

PLAN = small_plan().model_copy(update={"modality_columns": {"MR_0": "scan"}})


def filled(said, known=None, categories=("CT", "MR T1w")):
    encoder = ConditionEncoder(parts=(CategoryEncoder(name="scan", categories=categories),))
    cases = conditions_with_modality({"a": CaseConditions(values={"scan": known, "age": None})}, PLAN, [encoder], said)
    return dict(cases["a"].values)


@pytest.mark.parametrize(("said", "categories", "value"), [
    ("mri", ("CT", "MR T1w"), "MR T1w"),  # the one spelling of the training table
    ("MR", ("CT", "MR", "MRI"), "MR"),  # one of several
    ("mr", ("T1w", "T2w"), "mr"),  # it is not said which
])
def test_what_is_said_fills_the_column_as_the_encoder_spells_it(said, categories, value):
    assert filled(said, categories=categories) == {"scan": value, "age": None}


def test_a_column_that_the_table_fills_stays_and_silence_fills_nothing():
    assert filled("MR", known="CT") == {"scan": "CT", "age": None}
    assert filled("") == {"scan": None, "age": None}
