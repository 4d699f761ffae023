import functools
import os

import pytest

from autoseg.base.errors import UserError
from autoseg.data.case import CaseFiles
from autoseg.data.parallel import each_case

CASES = tuple(CaseFiles(f"case{k}", ()) for k in range(9))


def named(files: CaseFiles, prefix: str) -> str:
    return prefix + files.name


def failing(files: CaseFiles) -> str:
    if files.name == "case3":
        raise ZeroDivisionError("by nothing")
    return files.name


def dying(files: CaseFiles) -> str:
    os._exit(1)


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_order_of_the_cases(workers):
    done = []
    results = list(each_case(functools.partial(named, prefix="x"), CASES, workers, lambda: done.append(1)))
    assert results == [f"xcase{k}" for k in range(9)]
    assert len(done) == 9


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_names_its_case_and_keeps_its_cause(workers):
    with pytest.raises(RuntimeError, match="case case3: ZeroDivisionError: by nothing") as raised:
        list(each_case(failing, CASES, workers))
    assert isinstance(raised.value.__cause__, ZeroDivisionError)


def test_a_worker_that_is_killed_is_a_users_error():
    with pytest.raises(UserError, match="try again with fewer workers"):
        list(each_case(dying, CASES, 2))


def test_no_case_is_no_result():
    assert list(each_case(failing, (), 4)) == []
