"""Each promise names a test that is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = re.findall(r"`(tests/[^`]+)`", (ROOT / "docs" / "promises.md").read_text())


@pytest.mark.parametrize("test", TESTS)
def test_a_promise_names_a_test_that_is_there(test):
    file, _, function = test.partition("::")
    text = (ROOT / file).read_text()
    assert f"def {function or 'test_'}" in text


def test_there_are_promises():
    assert len(TESTS) > 60
