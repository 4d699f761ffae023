"""One tiny workspace: five spheres, prepared, fold 0 of a tiny network trained."""

import shutil
from pathlib import Path

import pytest

from autoseg import pipeline
from orchestrate_folds import NAME, prepared_spheres


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("reliability")
    prepared_spheres(home)
    pipeline.train(1, NAME, 0, home=home, device="cpu")
    return home


@pytest.fixture
def home(trained_home, tmp_path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(trained_home, tmp_path / "home")
