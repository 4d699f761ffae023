"""The same work on every case, in worker processes; results come in the order of the cases."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from autoseg.base.errors import AutosegError, UserError
from autoseg.base.workers import worker_pool
from autoseg.data.case import CaseFiles

T = TypeVar("T")

# Results that wait for an earlier one are few, however many cases there are.
_AHEAD_PER_WORKER = 4


def each_case(work: Callable[[CaseFiles], T], cases: Sequence[CaseFiles], workers: int,
              progress: Callable[[], object] | None = None) -> Iterator[T]:
    """`work(case)` of every case, in order, with `progress()` after each; `workers=1` starts no process.

    `work` must be picklable: a function of a module, or a `functools.partial` of one. What it raises names the case. A
    worker that is killed, most often for its memory, is a UserError.
    """
    report = progress or (lambda: None)
    if min(workers, len(cases)) <= 1:
        for case in cases:
            yield _named(case, lambda case=case: work(case))
            report()
        return
    with worker_pool(min(workers, len(cases))) as pool:
        waiting: deque[tuple[CaseFiles, Future[T]]] = deque()
        left = deque(cases)
        try:
            while waiting or left:
                while left and len(waiting) < _AHEAD_PER_WORKER * workers:
                    case = left.popleft()
                    waiting.append((case, pool.submit(work, case)))
                case, future = waiting.popleft()
                yield _named(case, future.result)
                report()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _named(case: CaseFiles, result: Callable[[], T]) -> T:
    try:
        return result()
    except BrokenProcessPool:
        raise UserError("a worker process ended abruptly, most often for lack of memory",
                        where=f"at or before case {case.name}", do="try again with fewer workers") from None
    except AutosegError:
        raise
    except Exception as error:
        raise RuntimeError(f"case {case.name}: {type(error).__name__}: {error}") from error
