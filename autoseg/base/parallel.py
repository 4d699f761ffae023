"""The same work on every case, in worker processes where they pay and fit; results come in the order of the cases."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Protocol, TypeVar

from autoseg.base.errors import AutosegError, UserError
from autoseg.base.memory import workers_that_fit
from autoseg.base.processes import WorkerPool, process_pool, start_at_once

logger = logging.getLogger(__name__)

# Results that wait for an earlier one are few, however many cases there are.
_AHEAD_PER_WORKER = 4
# A worker_pool works on cases up to this size: of larger ones nothing is remembered, and whoever is free should take the next.
_SMALL_BYTES = 2**26
DIED = "a worker process ended abruptly, working alone; most often the memory is too small"


class Named(Protocol):
    """What is worked on: a case, by its name."""

    @property
    def name(self) -> str: ...


C = TypeVar("C", bound=Named)
T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """What is known of the work before it begins: what it is called, and what a case takes, the largest or each.

    Where processes do not start at once, `tried` cases are done in this one first: they tell the time per case, and where the rest
    takes less than `worth_seconds`, no other is started (0: processes in any case).
    """

    what: str = "working on the cases"
    estimated_bytes: int | Sequence[int] = 0
    tried: int = 0
    worth_seconds: float = 10.0


def each_case(work: Callable[[C], T], cases: Sequence[C], workers: int, progress: Callable[[], object] | None = None, *,
              effort: Effort = Effort(), died: Callable[[C], T] | None = None, worker_pool: WorkerPool | None = None) -> Iterator[T]:
    """`work(case)` of every case, in order, with `progress()` after each; `workers=1` starts no process.

    `work` must be picklable: a function of a module, or a `functools.partial` of one. What it raises names the case. No
    more workers are started than fit the memory. Where one is killed, most often for its memory, the cases that were
    in work are done again, one at a time; what is killed even then is `died(case)`, or a UserError. Small cases are given to
    the `worker_pool`, each to the worker that had it before.
    """
    report = progress or (lambda: None)
    n_tried, seconds = 0, 0.0
    workers = min(workers, len(cases))
    if workers > 1 and effort.tried and not start_at_once():
        for case in cases[:effort.tried]:
            n_tried += 1
            begun = time.monotonic()
            yield _named(case, lambda case=case: work(case))
            seconds = time.monotonic() - begun  # the last: the first loads what reading needs
            report()
        workers = min(workers, len(cases) - n_tried) if seconds * (len(cases) - n_tried) > effort.worth_seconds else 1
    left = cases[n_tried:]
    if left:
        need = effort.estimated_bytes if isinstance(effort.estimated_bytes, int) else effort.estimated_bytes[n_tried:]
        workers = workers_that_fit(need, workers, effort.what)
        largest = need if isinstance(need, int) else max(need)
        if worker_pool is not None and (worker_pool.is_broken or workers < min(len(worker_pool), len(left)) or largest > _SMALL_BYTES):
            worker_pool = None
    here = workers <= 1
    for result in _one_by_one(work, left) if here else _in_processes(work, left, workers, died, worker_pool):
        yield result
        report()


def _one_by_one(work: Callable[[C], T], cases: Sequence[C]) -> Iterator[T]:
    for case in cases:
        yield _named(case, lambda case=case: work(case))


def _in_processes(work: Callable[[C], T], cases: Sequence[C], workers: int, died: Callable[[C], T] | None,
                  worker_pool: WorkerPool | None) -> Iterator[T]:
    left = cases
    while left:
        done = 0
        try:
            for result in _in_pool(work, left, workers) if worker_pool is None else _in_turn(work, left, workers, worker_pool.pool_of):
                done += 1
                yield result
            return
        except BrokenProcessPool:
            suspects = left[done:done + _AHEAD_PER_WORKER * workers]
            logger.warning("a worker process died, most often for lack of memory; the cases from %s to %s are done one at a "
                           "time", suspects[0].name, suspects[-1].name)
            if worker_pool is not None:
                worker_pool.give_up()
                worker_pool = None
            yield from _alone(work, suspects, died)
            left = left[done + len(suspects):]


def _in_pool(work: Callable[[C], T], cases: Sequence[C], workers: int) -> Iterator[T]:
    with process_pool(workers) as pool:
        try:
            yield from _in_turn(work, cases, workers, lambda _: pool)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_turn(work: Callable[[C], T], cases: Sequence[C], workers: int, pool_of: Callable[[str], Executor]) -> Iterator[T]:
    waiting: deque[tuple[C, Future[T]]] = deque()
    left = deque(cases)
    while waiting or left:
        while left and len(waiting) < _AHEAD_PER_WORKER * workers:
            case = left.popleft()
            waiting.append((case, pool_of(case.name).submit(work, case)))
        case, future = waiting.popleft()
        yield _named(case, future.result)


def _alone(work: Callable[[C], T], cases: Sequence[C], died: Callable[[C], T] | None) -> Iterator[T]:
    """In one process at a time; a new one where it dies."""
    left = deque(cases)
    while left:
        with process_pool(1) as pool:
            try:
                while left:
                    result = _named(left[0], pool.submit(work, left[0]).result)
                    left.popleft()
                    yield result
                return
            except BrokenProcessPool:
                case = left.popleft()
        if died is None:
            raise UserError(DIED, where=f"case {case.name}", do="end other programs, or use a machine with more memory")
        yield died(case)


def _named(case: Named, result: Callable[[], T]) -> T:
    try:
        return result()
    except (AutosegError, BrokenProcessPool):
        raise
    except Exception as error:
        raise RuntimeError(f"case {case.name}: {type(error).__name__}: {error}") from error
