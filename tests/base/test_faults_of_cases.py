"""What a case raises becomes one sentence that names it."""

import pytest

from autoseg.base.errors import UserError, case_fault


@pytest.mark.parametrize("error, sentence", [
    (UserError("it is empty"), "case a1: it is empty"), (UserError("it is empty", where="case a1"), "case a1: it is empty"),
    (UserError("it is empty", where="case a12"), "case a1: case a12: it is empty"),
    (ValueError("x"), "case a1: ValueError: x")])
def test_a_fault_names_its_case_once(error, sentence):
    assert case_fault(error, "a1") == sentence
