"""Predicting again and again opens nothing that stays open. `benchmarks/soak.py` does it thousands of times."""

import gc
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import soak


@pytest.mark.parametrize(("by", "n"), [("Predictor", 30), ("autoseg.predict", 15)])
def test_threads_and_handles_stay_as_they_are(tmp_path, by, n):
    predict = soak.predictions(by, tmp_path)
    for number in range(5):
        predict(number)
    _, threads, handles = soak.figures()
    for number in range(n):
        predict(number)
    gc.collect()
    assert soak.figures()[1:] == (threads, handles)
