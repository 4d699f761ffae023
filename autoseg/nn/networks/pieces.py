"""Pieces of one operation side by side, each by one thread: small operations of torch share their threads badly."""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from autoseg.base.threads import started_pool, threads_to_share

T = TypeVar("T")
R = TypeVar("R")

_own = threading.local()  # pools of each calling thread, so that none waits for the pieces of another; they end with it


def shares(items: Sequence[T], at_once: int) -> list[list[Sequence[T]]]:
    """The items, for each thread that torch takes for an operation of the calling thread, in parts of `at_once` at most.

    >>> from unittest.mock import patch
    >>> with patch(f"{__name__}.threads_to_share", lambda: 2):
    ...     shares("abcdefg", 3)
    [['abc', 'd'], ['efg']]
    """
    per_thread = -(-len(items) // threads_to_share())
    return [[items[start:min(start + at_once, first + per_thread)]
             for start in range(first, min(len(items), first + per_thread), at_once)]
            for first in range(0, len(items), per_thread)]


def in_threads(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """`work` of each item, a thread per item, without gradients; of one item in the calling thread, as it is."""
    if len(items) == 1:
        return [work(items[0])]
    inference = torch.is_inference_mode_enabled()  # the modes of torch are those of a thread

    def quietly(item: T) -> R:
        with torch.inference_mode(inference), torch.no_grad():
            return work(item)

    futures = [_pool(len(items)).submit(quietly, item) for item in items]
    wait(futures)  # after an error, too: the memory of the others must be free before anything else is tried
    return [future.result() for future in futures]


def _pool(n: int) -> ThreadPoolExecutor:
    """Threads that stay, each of which gives one thread to an operation of torch."""
    pools: dict[tuple[int, int], ThreadPoolExecutor] = _own.__dict__.setdefault("pools", {})
    key = (os.getpid(), n)  # the threads of a process are not those of its fork
    if key not in pools:
        pools[key] = started_pool(n, 1, "pieces")
    return pools[key]
