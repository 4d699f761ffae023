"""For all tests of training."""

import pytest


@pytest.fixture(autouse=True)
def nothing_known_of_cores(monkeypatch):
    """What other programs take of the real machine is none of a simulated clock's."""
    monkeypatch.setattr("autoseg.base.contention.now", lambda: None)
