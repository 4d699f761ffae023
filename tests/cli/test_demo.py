"""The demo's folder holds one demo."""

import pytest

from autoseg.base.errors import UserError
from autoseg.cli.demo import _keep_apart


def test_a_demo_with_other_settings_needs_another_folder(tmp_path):
    _keep_apart(tmp_path, {"budget_seconds": 60.0, "seed": 0})
    _keep_apart(tmp_path, {"budget_seconds": 60.0, "seed": 0})
    with pytest.raises(UserError, match=r"other settings.*--home"):
        _keep_apart(tmp_path, {"budget_seconds": 90.0, "seed": 0})
