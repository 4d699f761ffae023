"""A model whose package is not installed says how to install it."""

import subprocess
import sys

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.outcome.nested import out_of_fold
from autoseg.outcome.targets import NumberTarget
from outcome_samples import table


def test_trees_without_xgboost_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "xgboost", None)
    blocks = {"clinical": table("clinical", np.zeros((6, 2)))}
    with pytest.raises(UserError, match=r"needs the package xgboost.*pip install 'autoseg-pipeline\[outcome\]'"):
        out_of_fold("forest_clinical", blocks, NumberTarget(np.arange(6.0)), np.arange(6) % 2, 0)


def test_regressions_and_networks_need_no_package_of_the_extra(monkeypatch):
    for name in ("xgboost", "sklearn", "torchsurv"):
        monkeypatch.setitem(sys.modules, name, None)
    gaps = np.arange(24.0).reshape(12, 2)
    gaps[3, 0] = np.nan
    estimate = out_of_fold("linear_clinical", {"clinical": table("clinical", gaps)}, NumberTarget(np.arange(12.0)),
                           np.arange(12) % 2, 0)
    assert np.isfinite(estimate.value_N).all()


def test_prediction_does_not_import_the_slow_part_of_scipy():
    program = "import sys; import autoseg.outcome.predict; print('scipy.stats' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
