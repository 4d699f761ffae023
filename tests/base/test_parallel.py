import functools
import multiprocessing
import os
import subprocess
import sys
import time
import types
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pytest

from autoseg.base import memory, parallel
from autoseg.base.errors import UserError
from autoseg.base.parallel import Effort, each_case
from autoseg.base.processes import WorkerPool
from autoseg.datasets.case import CaseFiles

CASES = tuple(CaseFiles(f"case{k}", ()) for k in range(9))


def named(files: CaseFiles, prefix: str) -> str:
    return prefix + files.name


def failing(files: CaseFiles) -> str:
    if files.name == "case3":
        raise ZeroDivisionError("by nothing")
    return files.name


def deadly(files: CaseFiles) -> str:
    return os._exit(1) if files.name == "case1" else files.name


def pid(files: CaseFiles) -> int:
    return os.getpid()


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
    with pytest.raises(UserError, match="case0.*ended abruptly, working alone.*exit status 1"):
        list(each_case(dying, CASES[:2], 2))


def test_what_kills_its_worker_costs_no_other_case():
    results = list(each_case(deadly, CASES[:3], 2, died=lambda case, why: f"{case.name} is lost"))
    assert results == ["case0", "case1 is lost", "case2"]


def test_fewer_processes_than_asked_are_started_where_memory_is_short(monkeypatch, caplog):
    started = []
    monkeypatch.setattr(parallel, "process_pool", lambda n: started.append(n) or ThreadPoolExecutor(n))
    monkeypatch.setattr(memory, "free_host_bytes", lambda: 4 * 2**30)
    with caplog.at_level("INFO", "autoseg"):
        list(each_case(failing, CASES[4:], 4, effort=Effort("measuring", estimated_bytes=2**30)))
    assert started == [2]  # of 1.4 GiB each, in four fifths of 4 GiB
    assert "measuring: 2 instead of 4 workers of about 1.4 GiB for 4.0 GiB free" in caplog.text


def test_no_process_is_started_for_work_that_is_soon_done(monkeypatch):
    monkeypatch.setattr(parallel, "start_at_once", lambda: False)
    monkeypatch.setattr(parallel, "process_pool", lambda n: pytest.fail("a process was started"))
    assert len(list(each_case(failing, CASES[4:], 4, effort=Effort(tried=2)))) == 5


def test_processes_that_start_at_once_are_taken_for_any_work(monkeypatch):
    monkeypatch.setattr(parallel, "start_at_once", lambda: True)
    pids = list(each_case(pid, CASES, 2, effort=Effort(tried=2)))
    assert os.getpid() not in pids


def test_after_a_death_processes_go_on(monkeypatch):
    monkeypatch.setattr(parallel, "_AHEAD_PER_WORKER", 1)
    started = []
    pool = parallel.process_pool
    monkeypatch.setattr(parallel, "process_pool", lambda n: started.append(n) or pool(n))
    results = list(each_case(deadly, CASES, 2, died=lambda case, why: f"{case.name} is lost"))
    assert results == ["case0", "case1 is lost", *(f"case{k}" for k in range(2, 9))]
    assert started[0] == started[-1] == 2 and 1 in started


@pytest.fixture
def worker_pool(monkeypatch):
    monkeypatch.setattr(parallel, "start_at_once", lambda: True)
    with WorkerPool(2) as made:
        yield made


def test_a_worker_pool_keeps_its_cases_from_stage_to_stage(worker_pool):
    first = dict(zip(CASES, each_case(pid, CASES, 2, worker_pool=worker_pool), strict=True))
    assert len(set(first.values())) == 2 and os.getpid() not in first.values()
    some = CASES[1::3]
    assert list(each_case(pid, some, 2, worker_pool=worker_pool)) == [first[case] for case in some]


def test_large_cases_and_too_little_memory_are_not_for_a_worker_pool(worker_pool, monkeypatch):
    monkeypatch.setattr(worker_pool, "pool_of", lambda name: pytest.fail("the worker_pool was asked"))
    assert len(list(each_case(pid, CASES, 2, effort=Effort(estimated_bytes=2**27), worker_pool=worker_pool))) == 9
    assert len(list(each_case(pid, CASES, 1, worker_pool=worker_pool))) == 9


def test_a_worker_pool_of_which_one_died_is_not_asked_again(worker_pool):
    results = list(each_case(deadly, CASES, 2, died=lambda case, why: f"{case.name} is lost", worker_pool=worker_pool))
    assert results == ["case0", "case1 is lost", *(f"case{k}" for k in range(2, 9))]
    assert worker_pool.is_broken
    assert len(list(each_case(pid, CASES, 2, worker_pool=worker_pool))) == 9


def alone_at_it(files: CaseFiles, folder: str) -> str:
    """A case that is worked on twice at once says so."""
    if files.name == "case1":
        os._exit(1)
    marker = Path(folder) / files.name
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        (Path(folder) / "twice").touch()
    time.sleep(0.05)
    marker.unlink(missing_ok=True)
    return files.name


def test_after_a_death_in_a_worker_pool_no_case_is_worked_on_twice_at_once(worker_pool, tmp_path):
    work = functools.partial(alone_at_it, folder=str(tmp_path))
    assert len(list(each_case(work, CASES, 2, died=lambda case, why: "lost", worker_pool=worker_pool))) == len(CASES)
    assert not list(tmp_path.iterdir())


def test_the_reason_of_a_death_is_given_to_who_asks():
    _, why = each_case(deadly, CASES[:2], 2, died=lambda case, why: why)
    assert "exit status 1" in why and "more memory" not in why


def test_a_script_from_standard_input_does_its_cases_itself(monkeypatch):
    main = types.ModuleType("__main__")
    main.__file__ = "<stdin>"
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert len(set(pids_of_two_workers())) == 1


def test_a_daemonic_process_does_its_cases_itself():
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    with context.Pool(1) as pool:  # its processes are daemonic
        assert len(set(pool.apply(pids_of_two_workers))) == 1


def pids_of_two_workers() -> list[int]:
    return list(each_case(pid, CASES, 2))


@pytest.mark.parametrize("error", [OSError("no space left"), NotImplementedError("no semaphores")])
def test_where_no_worker_can_start_the_work_is_done_here(error, monkeypatch, caplog):
    def no_pool(n):
        raise error

    monkeypatch.setattr(parallel, "process_pool", no_pool)
    assert set(each_case(pid, CASES, 2)) == {os.getpid()}
    assert str(error) in caplog.text and "done in this process" in caplog.text


def test_where_every_worker_dies_at_its_start_the_work_is_done_here(monkeypatch, caplog):
    monkeypatch.setattr(parallel, "process_pool",
                        lambda n: ProcessPoolExecutor(n, multiprocessing.get_context("spawn"), os._exit, (5,)))
    assert set(each_case(pid, CASES, 2)) == {os.getpid()}
    assert "worker processes cannot start here (exit status 5)" in caplog.text


def test_a_script_without_a_main_guard_is_told_in_a_line_and_its_work_is_done(tmp_path):
    script = tmp_path / "users_script.py"
    script.write_text("from autoseg.base.parallel import each_case\nfrom autoseg.datasets.case import CaseFiles\n"
                      "cases = [CaseFiles(f'c{k}', ()) for k in range(4)]\n"
                      "print(list(each_case(str, cases, 2)) == [str(case) for case in cases])\n")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": str(root)})
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    (line,) = done.stderr.splitlines()
    assert "users_script.py" in line and '`if __name__ == "__main__":`' in line and "done in this process" in line


def test_no_case_is_no_result():
    assert list(each_case(failing, (), 4)) == []
