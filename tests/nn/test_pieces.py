"""Pieces of an operation side by side: in order, with the modes of the caller, and what they raise."""

import threading
import time

import pytest
import torch

from autoseg.nn.networks import pieces, winograd
from autoseg.nn.networks.pieces import in_threads, shares
from autoseg.nn.networks.winograd_gradients import Convolution


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.setattr(pieces, "threads_to_share", lambda: 3)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 30])
@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_every_item_is_shared_once_in_parts_that_are_small_enough(three_threads, n, at_once):
    shared = shares(list(range(n)), at_once)
    assert [item for parts in shared for part in parts for item in part] == list(range(n))
    assert len(shared) <= 3 and all(0 < len(part) <= at_once for parts in shared for part in parts)


def test_results_come_in_the_order_of_the_items_from_threads_of_their_own():
    found = in_threads(lambda item: (item, threading.get_ident(), torch.get_num_threads()), [0, 1, 2])
    assert [item for item, _, _ in found] == [0, 1, 2]
    assert threading.get_ident() not in {thread for _, thread, _ in found} and {n for _, _, n in found} == {1}


def test_a_single_item_stays_in_the_calling_thread():
    assert in_threads(lambda _: threading.get_ident(), [0]) == [threading.get_ident()]


def test_threads_stay_and_another_caller_has_others():
    both = threading.Barrier(2)
    found = []

    def call():
        found.append({thread for _, thread in in_threads(lambda _: (both.wait(10), threading.get_ident()), [0, 1])})

    call()
    call()
    caller = threading.Thread(target=call)
    caller.start()
    caller.join()
    assert found[0] == found[1] and not found[0] & found[2]


def test_the_number_of_threads_of_the_caller_stays():
    before = torch.get_num_threads()
    in_threads(lambda item: item, [0, 1])
    assert torch.get_num_threads() == before


def test_pieces_are_in_the_inference_mode_of_the_caller_and_have_no_gradients():
    modes = [torch.is_inference_mode_enabled, torch.is_grad_enabled]
    with torch.inference_mode():
        assert in_threads(lambda ask: ask(), modes) == [True, False]
    assert in_threads(lambda ask: ask(), modes) == [False, False]


def test_what_a_piece_raises_is_raised():
    with pytest.raises(ValueError, match="the second"):
        in_threads(lambda item: item or (_ for _ in ()).throw(ValueError("the second")), [1, 0])


def test_after_an_error_nothing_runs_on():
    ended = []

    def work(item):
        if item == 0:
            raise RuntimeError("can't allocate memory")
        time.sleep(0.2)
        ended.append(item)

    with pytest.raises(RuntimeError, match="can't allocate"):
        in_threads(work, [0, 1, 2])
    assert sorted(ended) == [1, 2]


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_convolutions_and_gradients_in_pieces_agree_with_one_thread(monkeypatch):
    torch.manual_seed(0)
    x = torch.randn(2, 16, 10, 12, 12).to(memory_format=torch.channels_last_3d)
    weight, gradient = torch.randn(16, 16, 3, 3, 3), torch.randn_like(x)
    found = []
    for n in (1, 3):
        monkeypatch.setattr(pieces, "threads_to_share", lambda n=n: n)
        leaves = [values.clone().requires_grad_() for values in (x, weight)]
        result = Convolution.apply(*leaves, None)
        with torch.inference_mode():
            predicted = winograd.convolved(x, weight, None)
        found.append((predicted, result.detach(), *torch.autograd.grad(result, leaves, gradient)))
    for one, three in zip(*found, strict=True):
        torch.testing.assert_close(three, one, rtol=1e-5, atol=1e-5 * float(one.abs().max()))
