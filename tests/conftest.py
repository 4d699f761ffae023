"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # several tests run at a time (pytest -n 2): each on one core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

pytest_plugins = ["raw_fixtures"]
ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _no_plugins_from_other_tests(monkeypatch):
    """What one test loads must not be imported by the worker processes of the next."""
    from autoseg.base import processes

    monkeypatch.setattr(processes, "_plugins", [])


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real datasets beside the project; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("AUTOSEG_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data are not at {folder}")
    return folder
