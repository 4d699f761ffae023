"""Workspaces of balls, written once and copied."""

import shutil
from collections.abc import Callable

import pytest

from autoseg.workspace.names import Workspace
from folds_support import FOLDS, Balls, near, write_balls


@pytest.fixture(scope="session")
def _templates(tmp_path_factory) -> dict[str, Balls]:
    templates = {"untrained": write_balls(tmp_path_factory.mktemp("untrained"), 10),
            "trained": write_balls(tmp_path_factory.mktemp("trained"), 3 * FOLDS)}
    templates["trained"].model(near)
    return templates


@pytest.fixture
def copied(_templates, tmp_path) -> Callable[[str], Balls]:
    def copy(name: str) -> Balls:
        shutil.copytree(_templates[name].workspace.home, tmp_path / name)
        return Balls(Workspace(tmp_path / name), _templates[name].n_cases)

    return copy


@pytest.fixture
def untrained(copied) -> Balls:
    """Ten cases, no model."""
    return copied("untrained")


@pytest.fixture
def trained(copied) -> Balls:
    """Fifteen cases and the five folds of one configuration, whose errors differ from case to case."""
    return copied("trained")
