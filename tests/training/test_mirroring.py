"""Validation leaves out mirroring where the time of a budget ends, and remembers in which cases."""

import pytest

from autoseg.training import mirroring as mirroring_module
from autoseg.training.job import FoldJob
from autoseg.training.mirroring import Mirroring, unmirrored_cases
from autoseg.workspace.folders import FoldFolder
from tests_support import small_plan

NAMES = ("a", "b", "c", "d")


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setattr(mirroring_module, "_voxels", lambda job, name: 1000)
    return FoldJob(plan=small_plan(), name="3d_fullres", fold=0, folder=FoldFolder(tmp_path / "fold_0"), cases=tmp_path,
                   training=(), validation=NAMES, seed=0)


class Clock:
    seconds = 0.0

    def __call__(self):
        return self.seconds


def validated(job, seconds_left, seconds=lambda name: 10.0, is_wanted=True):
    """The cases that are mirrored; each takes so many seconds, half of it without mirroring."""
    clock = Clock()
    mirrors, mirrored = Mirroring(job, NAMES, is_wanted, seconds_left, clock), []
    for name in NAMES:
        with mirrors.timed(name, is_predicted=True):
            mirrored += [name] if mirrors.of(name) else []
            clock.seconds += seconds(name) / (1 if name in mirrored else 2)
    return mirrored


def test_with_enough_time_all_cases_are_mirrored(job):
    assert validated(job, 40.0) == list(NAMES)
    assert unmirrored_cases(job.folder) == ()


def test_without_a_budget_no_case_is_hurried(job):
    assert validated(job, None) == list(NAMES)


def test_where_time_is_short_as_many_as_needed_are_not_mirrored(job):
    assert validated(job, 35.0) == ["a", "c", "d"]  # 10 + 5 + 10 + 10
    assert unmirrored_cases(job.folder) == ("b",)


def test_a_case_that_takes_longer_than_before_is_followed_by_cases_without(job):
    assert validated(job, 50.0, lambda name: 20.0 if name == "a" else 10.0) == ["a", "d"]


def test_what_was_not_mirrored_is_predicted_again_without(job):
    validated(job, 0.0)
    again = Mirroring(job, (), True, None)
    assert [again.of(name) for name in NAMES] == [True, False, False, False]
    job.folder.clear_validation()
    assert unmirrored_cases(job.folder) == ()


def test_a_schedule_without_mirroring_records_nothing(job):
    assert validated(job, 0.0, is_wanted=False) == []
    assert unmirrored_cases(job.folder) == ()


def test_a_case_that_fails_is_no_longer_waited_for(job):
    clock = Clock()
    mirrors = Mirroring(job, NAMES, True, 25.0, clock)
    with pytest.raises(ValueError), mirrors.timed("a", is_predicted=True):
        raise ValueError
    with mirrors.timed("b", is_predicted=True):
        assert mirrors.of("b")
        clock.seconds += 10
    assert not mirrors.of("c")  # two cases of 10 s in 15 s
