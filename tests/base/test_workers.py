"""Worker processes: there at once, without torch until it is needed, and with their share of the cores."""

import os
import sys

import pytest

from autoseg.base import workers
from autoseg.base.workers import cores, expect_workers, start_at_once, worker_pool


def modules() -> set[str]:
    return set(sys.modules)


def threads() -> int:
    import torch

    return torch.get_num_threads()


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked from a server on Linux only")
def test_a_worker_has_what_it_needs_and_no_torch():
    expect_workers()
    assert start_at_once() == (cores() > 1 or workers._is_served)
    with worker_pool(2) as pool:
        there = pool.submit(modules).result()
        assert pool.submit(os.getpid).result() != os.getpid()
    assert "autoseg.preprocess.run" in there and "blosc2" in there
    assert not {"torch", "SimpleITK"} & there


@pytest.mark.parametrize("n", [1, 2])
def test_workers_share_the_cores(n):
    with worker_pool(n) as pool:
        assert pool.submit(threads).result() == max(1, cores() // n)
