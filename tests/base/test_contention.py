"""The share of the processor that other programs take."""

import os
import subprocess
import sys
import time
from collections import namedtuple

import psutil
import pytest

from autoseg.base import contention
from autoseg.base.contention import Moment, Watch, now, share_of_others


def test_what_others_take_of_a_busy_machine_is_measured():
    before, after = Moment(clock=10.0, busy=100.0, own=5.0), Moment(clock=12.0, busy=104.0, own=7.0)
    assert share_of_others(before, after, n_cores=2) == pytest.approx(0.5)


def test_others_take_nothing_where_cores_are_idle():
    before, after = Moment(clock=10.0, busy=100.0, own=5.0), Moment(clock=12.0, busy=106.0, own=7.0)
    assert share_of_others(before, after, n_cores=16) == 0


def test_a_process_alone_shares_with_nobody():
    before, after = Moment(clock=10.0, busy=100.0, own=5.0), Moment(clock=12.0, busy=104.0, own=9.0)
    assert share_of_others(before, after, n_cores=2) == 0


def test_time_and_work_go_on():
    before = now()
    assert sum(range(10**5)) and now().busy >= before.busy and now().clock > before.clock


def test_a_system_that_does_not_count_the_work_of_its_cores_says_nothing():
    before, after = Moment(clock=10.0, busy=0.0, own=5.0), Moment(clock=12.0, busy=0.0, own=7.0)
    assert share_of_others(before, after, n_cores=1) is None
    assert share_of_others(None, after) is None


def test_only_the_cores_of_this_process_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0}, raising=False)
    times = namedtuple("times", "user nice system idle iowait steal guest guest_nice")
    cores = [times(70.0, 1.0, 9.0, 20.0, 5.0, 2.0, 3.0, 1.0), times(*[1000.0] * 8)]
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: cores)
    assert now().busy == 82.0  # guests are counted twice by the system


def test_ended_and_running_children_are_this_process():
    before = now().own
    child = subprocess.Popen([sys.executable, "-c", "import time\nwhile time.process_time() < 0.15: pass\ninput()"],
                             stdin=subprocess.PIPE)
    while sum(psutil.Process(child.pid).cpu_times()[:2]) < 0.12:
        time.sleep(0.02)
    assert now().own - before > 0.1
    child.communicate(b"\n")
    assert now().own - before > 0.1


def test_a_watch_measures_from_look_to_look(monkeypatch):
    moments = iter([Moment(0.0, 0.0, 0.0), Moment(10.0, 10.0, 5.0), Moment(20.0, 20.0, 15.0), None])
    monkeypatch.setattr(contention, "now", lambda: next(moments))
    monkeypatch.setattr(contention, "cores", lambda: 1)
    watch = Watch()
    assert [watch.look() for _ in range(3)] == [(0.5, 10.0), (0.0, 10.0), (None, 0.0)]
