"""Pieces of work side by side: their order, their errors, and the numbers of threads that torch takes."""

import os
import signal
import threading
import time

import pytest
import torch

from autoseg.base.stopping import Stopped, stoppable
from autoseg.base.threads import side_by_side, threads_to_share


@pytest.fixture
def five_threads():
    """A caller who chose five threads for torch."""
    before = torch.get_num_threads()
    torch.set_num_threads(5)
    yield
    torch.set_num_threads(before)


def in_new_thread(ask):
    answers = []
    thread = threading.Thread(target=lambda: answers.append(ask()))
    thread.start()
    thread.join()
    return answers[0]


def helpers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("side_by_side")]


def test_results_come_in_order_whichever_is_ready_first():
    def work(item):
        time.sleep(0.02 if item % 3 == 0 else 0)
        return 10 * item

    with side_by_side(work, range(9), 3, 1) as results:
        assert list(results) == [10 * item for item in range(9)]
    assert helpers() == []


def test_several_are_worked_on_at_the_same_time():
    both = threading.Barrier(2)
    with side_by_side(lambda _: both.wait(timeout=10), range(4), 2, 1) as results:
        assert len(list(results)) == 4


def test_few_are_started_before_an_earlier_one_is_taken():
    entered = []
    with side_by_side(entered.append, range(20), 2, 1) as results:
        next(results)
        time.sleep(0.05)
        assert len(entered) <= 4


def test_each_thread_has_its_share_and_the_caller_notices_nothing(five_threads):
    torch.ones(200_000).sum()  # torch has started threads of its own
    with side_by_side(lambda _: (torch.ones(200_000).sum(), torch.get_num_threads()), range(6), 3, 2) as results:
        assert {n for _, n in results} == {2}
        assert (torch.get_num_threads(), in_new_thread(torch.get_num_threads)) == (5, 5)
    assert (threads_to_share(), in_new_thread(threads_to_share)) == (5, 5)


def test_callers_in_several_threads_do_not_mix_up_their_numbers(five_threads):
    seen = []

    def caller(each):
        for _ in range(5):
            with side_by_side(lambda _: torch.get_num_threads(), range(4), 2, each) as results:
                seen.append((each, set(results)))

    callers = [threading.Thread(target=caller, args=(each,)) for each in (1, 2, 3)]
    for thread in callers:
        thread.start()
    for thread in callers:
        thread.join()
    assert len(seen) == 15 and all(numbers == {each} for each, numbers in seen)
    assert (torch.get_num_threads(), in_new_thread(torch.get_num_threads)) == (5, 5)


def test_an_error_is_raised_in_its_turn_and_the_rest_is_dropped(five_threads):
    entered, taken = [], []

    def work(item):
        entered.append(item)
        if item == 1:
            raise ValueError("item 1")
        time.sleep(0.01)
        return item

    with pytest.raises(ValueError, match="item 1"), side_by_side(work, range(50), 2, 1) as results:
        taken.extend(results)
    assert taken == [0] and len(entered) < 8
    assert helpers() == []
    assert in_new_thread(torch.get_num_threads) == 5


def test_an_error_of_the_caller_waits_for_what_was_started():
    finished = []

    def work(item):
        time.sleep(0.02)
        finished.append(item)

    with pytest.raises(KeyError), side_by_side(work, range(50), 2, 1) as results:
        next(results)
        raise KeyError
    n = len(finished)
    time.sleep(0.05)
    assert len(finished) == n < 8 and helpers() == []


def test_a_signal_stops_the_caller_who_waits_for_a_result():
    def work(item):
        if item == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1 if item >= 2 else 0)
        return item

    taken = []
    with pytest.raises(Stopped) as stop, stoppable(), side_by_side(work, range(50), 2, 1) as results:
        taken.extend(results)
    assert stop.value.number is signal.SIGTERM
    assert len(taken) < 5 and helpers() == []


def test_a_thread_that_the_system_refuses_is_an_error_and_changes_nothing(five_threads, monkeypatch):
    start = threading.Thread.start

    def refuse(thread):
        if thread.name == "side_by_side_1":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(RuntimeError, match="can't start new thread"), side_by_side(abs, range(4), 2, 1) as results:
        list(results)
    monkeypatch.undo()
    assert helpers() == []
    assert (torch.get_num_threads(), in_new_thread(torch.get_num_threads)) == (5, 5)
