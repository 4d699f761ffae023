"""The same work on every case, in worker processes where they pay and fit; results come in the order of the cases."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from autoseg.base.deaths import MemoryState, how_it_ended, sentence_of
from autoseg.base.errors import AutosegError, UserError
from autoseg.base.memory import workers_that_fit
from autoseg.base.processes import (
    SCRIPT_RUNS_AGAIN,
    WorkerPool,
    process_pool,
    script_name,
    start_at_once,
    stop_broken,
    why_no_workers,
)

logger = logging.getLogger(__name__)

# Cases per worker that are submitted at a time. So few results wait for an earlier one, however many cases there are.
_AHEAD_PER_WORKER = 4
# A pool that stays works on cases up to this size. Larger ones are not cached, and the next free worker should take them.
_SMALL_BYTES = 2**26
_CANNOT_START = OSError, ImportError, NotImplementedError  # of a machine without semaphores or room for processes


class WorkerDied(Exception):
    """A worker process ended in its work; its exit code, negative for a signal, None where it is not known."""

    def __init__(self, exit_code: int | None):
        super().__init__(how_it_ended(exit_code))
        self.exit_code = exit_code


class Named(Protocol):
    """What is worked on: a case, by its name."""

    @property
    def name(self) -> str: ...


C = TypeVar("C", bound=Named)
T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """What is known about the work before it starts: its name, and the memory that one case takes, the largest or each.

    Where processes do not start at once, `tried` cases are done in this one first, which measures the time per case. Where
    the other cases take less than `worth_seconds`, no process is started (0: processes in any case).
    """

    what: str = "working on the cases"
    estimated_bytes: int | Sequence[int] = 0
    tried: int = 0
    worth_seconds: float = 10.0


def each_case(work: Callable[[C], T], cases: Sequence[C], workers: int, progress: Callable[[], object] | None = None, *,
              effort: Effort = Effort(), died: Callable[[C, str], T] | None = None, worker_pool: WorkerPool | None = None
              ) -> Iterator[T]:
    """`work(case)` of every case, in order, with `progress()` after each; `workers=1` starts no process.

    `work` must be picklable: a function of a module, or a `functools.partial` of one. What it raises names the case. No
    more workers are started than fit the memory. Where a worker dies, the cases that were in work are done again, one at a
    time. A case whose worker dies again gives `died(case, why)`, or a UserError. Where no worker can start, all is done in
    this process. Small cases are given to the `worker_pool`, each to the worker that had it before.
    """
    report = progress or (lambda: None)
    n_tried, seconds = 0, 0.0
    workers = min(workers, len(cases))
    if workers > 1 and (why := why_no_workers()):
        logger.info("%s: one case at a time, because %s", effort.what, why)
        workers = 1
    if workers > 1 and effort.tried and not start_at_once():
        for case in cases[:effort.tried]:
            n_tried += 1
            started = time.monotonic()
            yield _named(case, partial(work, case))
            seconds = time.monotonic() - started  # of the last one: the first imports what reading needs
            report()
        workers = min(workers, len(cases) - n_tried) if seconds * (len(cases) - n_tried) > effort.worth_seconds else 1
    remaining = cases[n_tried:]
    if remaining:
        estimate = effort.estimated_bytes if isinstance(effort.estimated_bytes, int) else effort.estimated_bytes[n_tried:]
        workers = workers_that_fit(estimate, workers, effort.what)
        if worker_pool is not None and not _suits(worker_pool, estimate, min(workers, len(remaining)), len(remaining)):
            worker_pool = None
    in_this_process = workers <= 1
    for result in (_one_by_one(work, remaining) if in_this_process
                   else _in_processes(work, remaining, workers, died, worker_pool)):
        yield result
        report()


def _suits(worker_pool: WorkerPool, estimated_bytes: int | Sequence[int], workers: int, n_cases: int) -> bool:
    """Whether the pool that stays can do the work: all of it fits into memory, and the cases are small."""
    largest = estimated_bytes if isinstance(estimated_bytes, int) else max(estimated_bytes)
    return not worker_pool.is_broken and workers >= min(len(worker_pool), n_cases) and largest <= _SMALL_BYTES


def _one_by_one(work: Callable[[C], T], cases: Sequence[C]) -> Iterator[T]:
    for case in cases:
        yield _named(case, partial(work, case))


def _in_processes(work: Callable[[C], T], cases: Sequence[C], workers: int, died: Callable[[C, str], T] | None,
                  worker_pool: WorkerPool | None) -> Iterator[T]:
    done = 0
    while done < len(cases):
        try:
            for result in (_in_pool(work, cases[done:], workers) if worker_pool is None
                           else _in_worker_pool(work, cases[done:], workers, worker_pool)):
                done += 1
                yield result
            return
        except WorkerDied as death:
            worker_pool = None
            if death.exit_code == SCRIPT_RUNS_AGAIN or (done == 0 and not _can_start()):
                logger.warning("%s", _why_none_starts(death))
                break
            suspects = cases[done:done + _AHEAD_PER_WORKER * workers]
            logger.warning("a worker process died (%s); the cases from %s to %s are done one at a time", death,
                           suspects[0].name, suspects[-1].name)
            yield from _alone(work, suspects, died)
            done += len(suspects)
        except _CANNOT_START as error:
            logger.warning("%s", _why_none_starts(error))
            break
    yield from _one_by_one(work, cases[done:])


def _why_none_starts(error: Exception) -> str:
    if isinstance(error, WorkerDied) and error.exit_code == SCRIPT_RUNS_AGAIN:
        return (f'{script_name()}: the calls of autoseg do not stand under `if __name__ == "__main__":`; worker processes '
                "import this file and would begin the work again, so it is done in this process alone, more slowly")
    return f"worker processes cannot start here ({error}); the work is done in this process alone, more slowly"


def _can_start() -> bool:
    """Whether a worker lives until it has done nothing."""
    try:
        with process_pool(1) as pool:
            pool.submit(bool).result()
    except (BrokenProcessPool, *_CANNOT_START):
        return False
    return True


def _in_pool(work: Callable[[C], T], cases: Sequence[C], workers: int) -> Iterator[T]:
    with process_pool(workers) as pool:
        try:
            yield from _in_order(work, cases, workers, lambda _: pool)
        except BrokenProcessPool:
            raise WorkerDied(stop_broken([pool])) from None
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _in_worker_pool(work: Callable[[C], T], cases: Sequence[C], workers: int, worker_pool: WorkerPool) -> Iterator[T]:
    try:
        yield from _in_order(work, cases, workers, worker_pool.pool_of)
    except BrokenProcessPool:
        raise WorkerDied(worker_pool.stop()) from None


def _in_order(work: Callable[[C], T], cases: Sequence[C], workers: int, pool_of: Callable[[str], Executor]) -> Iterator[T]:
    waiting: deque[tuple[C, Future[T]]] = deque()
    remaining = deque(cases)
    while waiting or remaining:
        while remaining and len(waiting) < _AHEAD_PER_WORKER * workers:
            case = remaining.popleft()
            waiting.append((case, pool_of(case.name).submit(work, case)))
        case, future = waiting.popleft()
        yield _named(case, future.result)


def _alone(work: Callable[[C], T], cases: Sequence[C], died: Callable[[C, str], T] | None) -> Iterator[T]:
    """In one process at a time; a new one where it dies."""
    remaining = deque(cases)
    while remaining:
        with process_pool(1) as pool:
            try:
                while remaining:
                    before = MemoryState.now()
                    result = _named(remaining[0], pool.submit(work, remaining[0]).result)
                    remaining.popleft()
                    yield result
                return
            except BrokenProcessPool:
                case = remaining.popleft()
                why = sentence_of(stop_broken([pool]), before, MemoryState.now())
        if died is None:
            raise UserError(why, where=f"case {case.name}")
        yield died(case, why)


def _named(case: Named, result: Callable[[], T]) -> T:
    try:
        return result()
    except (AutosegError, BrokenProcessPool):
        raise
    except Exception as error:
        raise RuntimeError(f"case {case.name}: {type(error).__name__}: {error}") from error
