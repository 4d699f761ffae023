"""The next case is made ready in a thread, while a model works on the one before it."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from autoseg.base.errors import AutosegError, TooLarge, UserError
from autoseg.base.runtime import is_out_of_memory

T = TypeVar("T")
R = TypeVar("R")


def prefetch(tasks: Sequence[T], make: Callable[[T], R], fits: Callable[[T, T], bool]
             ) -> Iterator[tuple[T, R | AutosegError]]:
    """Each task with `make(task)`, or with the user's fault that this raised.

    While the caller has one, the next is made in a thread if `fits(this, next)`, else when its turn comes. Never more than
    one is made ahead.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as pool:
        started: Future[R] | None = None
        for index, task in enumerate(tasks):
            result = _result(started, make, task)
            started = None
            if index + 1 < len(tasks) and fits(task, tasks[index + 1]):
                started = pool.submit(make, tasks[index + 1])
            yield task, result


def _result(started: "Future[R] | None", make: Callable[[T], R], task: T) -> R | AutosegError:
    try:
        if started is not None:
            try:
                return started.result()
            except (MemoryError, TooLarge, RuntimeError) as error:  # beside a prediction; alone there may be enough
                if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                    raise
                error.__traceback__ = None  # its frames hold what the failed attempt had read
        return make(task)
    except AutosegError as error:
        return error
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not is_out_of_memory(error):
            raise
        return UserError("the case needs more memory than there is", found=error)
