"""The cohorts that tests of outcomes share."""

import pytest

from outcome_cohort import Cohort, write_cohort


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> Cohort:
    """Shared by tests that change nothing but the outcomes' folder."""
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture
def own_cohort(tmp_path) -> Cohort:
    """A small one that a test may damage."""
    return write_cohort(tmp_path, n_cases=6, n_folds=2)
