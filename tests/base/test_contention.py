"""The share of the processor that other programs take."""

import pytest

from autoseg.base.contention import Moment, now, share_of_others


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
