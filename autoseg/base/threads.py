"""Pieces of work side by side, in threads that share the cores.

Where an operation of torch is small, two threads take little less time for it than one. Two operations at a time, each by
one thread, take half.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")

_choosing = threading.Lock()  # one thread at a time changes what torch gives to new threads


def threads_to_share() -> int:
    """Threads that torch takes for an operation of the calling thread; 1 where a thread cannot have a number of its own."""
    has_openmp = torch.backends.openmp.is_available()  # type: ignore[no-untyped-call]  # torch does not annotate it
    return torch.get_num_threads() if has_openmp else 1


@contextmanager
def side_by_side(work: Callable[[T], R], items: Iterable[T], n: int, threads_each: int) -> Iterator[Iterator[R]]:
    """The results of `work(item)`, in the order of the items, by `n` threads at a time. Operations of torch in each of them
    take `threads_each` threads; in all other threads, and in later ones, as many as before.

    What an item raises is raised in its turn. Few results wait for an earlier one. At the end of the context items that were
    not started are dropped, and those that were are waited for.
    """
    pool = started_pool(n, threads_each, "side_by_side")
    try:
        yield _in_order(pool, work, items, n + 1)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def started_pool(n: int, threads_each: int, name: str) -> ThreadPoolExecutor:
    """A pool whose `n` threads, named by `name`, give `threads_each` threads to an operation of torch."""
    pool = ThreadPoolExecutor(n, thread_name_prefix=name)
    _start(pool, n, threads_each)
    return pool


def _in_order(pool: ThreadPoolExecutor, work: Callable[[T], R], items: Iterable[T], ahead: int) -> Iterator[R]:
    waiting: deque[Future[R]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) == ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _start(pool: ThreadPoolExecutor, n: int, threads_each: int) -> None:
    """Start all threads of a pool, each with its own number.

    torch keeps a number per thread (OpenMP's and MKL's), but gives new threads the one that was chosen last, in whatever
    thread. So the number that they got before is chosen again, in a thread that does nothing else.
    """
    all_are_there = threading.Barrier(n)

    def choose(_: int) -> None:
        torch.get_num_threads()  # at the first of its operations a thread takes the common number, which must come before
        all_are_there.wait()
        torch.set_num_threads(threads_each)

    with _choosing:
        usual = _in_new_thread(torch.get_num_threads)
        try:
            list(pool.map(choose, range(n)))
        except BaseException:  # such as Ctrl-C, or a thread that the system refuses: the others would wait for it
            all_are_there.abort()
            pool.shutdown(wait=True, cancel_futures=True)
            raise
        finally:
            _in_new_thread(partial(torch.set_num_threads, usual))


def _in_new_thread(ask: Callable[[], Any]) -> Any:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(ask).result()
