import os
import signal
import time

import pytest

from autoseg.base import memory
from autoseg.base.deaths import MemoryState, how_it_ended, sentence_of
from autoseg.base.memory import programs_ended_for_memory
from autoseg.base.processes import process_pool, stop_broken

BEFORE = MemoryState(3 * 2**30, 7)


def kill_myself(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(60)


@pytest.mark.parametrize(("exit_code", "ended", "words"), [
    (-9, 8, ["signal 9 (SIGKILL)", "the system ended a program for lack of memory meanwhile", "more memory"]),
    (-9, 7, ["signal 9 (SIGKILL)", "somebody, a batch system or the system"]),
    (-11, 8, ["signal 11 (SIGSEGV)", "compiled code crashed"]),
    (-15, 7, ["signal 15 (SIGTERM)", "a batch system at the end of its time"]),
    (3, 7, ["exit status 3", "--workers 1"]),
    (None, 7, ["neither signal nor exit status is known"]),
])
def test_the_death_of_a_worker_is_told_as_it_is_known(exit_code, ended, words):
    text = sentence_of(exit_code, BEFORE, MemoryState(2**30, ended))
    for word in (*words, "memory free before: 3.0 GiB, after: 1.0 GiB"):
        assert word in text
    assert ("more memory" in text) == (exit_code == -9 and ended == 8)


def test_a_system_that_counts_no_ended_programs_is_not_quoted():
    assert "more memory" not in sentence_of(-9, MemoryState(2**30, None), MemoryState(2**30, 4))


def test_a_signal_without_a_name_is_told_by_its_number():
    assert how_it_ended(-60) == "killed by signal 60 (unknown)"


def test_the_kernels_count_of_programs_ended_for_memory_is_read(tmp_path, monkeypatch):
    (tmp_path / "vmstat").write_text("pgfault 12\noom_kill 3\n")
    monkeypatch.setattr(memory, "_KERNEL_COUNTS", tmp_path / "vmstat")
    assert programs_ended_for_memory() == 3
    monkeypatch.setattr(memory, "_KERNEL_COUNTS", tmp_path / "nothing")
    assert programs_ended_for_memory() is None


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_the_signal_that_killed_one_of_two_workers_is_known(number):
    with process_pool(2) as pool:
        assert pool.submit(kill_myself, number).exception() is not None
        assert stop_broken([pool]) == -number
