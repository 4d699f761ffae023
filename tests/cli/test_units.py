"""Units of time and memory on the command line."""

import argparse

import pytest

from autoseg.cli.common import memory, positive, seconds


@pytest.mark.parametrize(("text", "value"), [("90s", 90), ("30m", 1800), ("4h", 14400), ("1.5d", 129600), ("2H", 7200)])
def test_times_have_units(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize(("text", "value"), [("8G", 2**33), ("800M", 800 * 2**20), ("8GB", 2**33), ("8GiB", 2**33)])
def test_memories_have_units(text, value):
    assert memory(text) == value


@pytest.mark.parametrize("text", ["30", "", "m", "-1h", "0m", "nanh", "infh", "1w", "1h30"])
def test_nonsense_times_are_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="expected a time"):
        seconds(text)


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_counts_are_whole_and_positive(text):
    with pytest.raises(argparse.ArgumentTypeError):
        positive(text)


def test_a_memory_of_less_than_a_byte_is_one():
    assert memory("0.0000001M") == 1
