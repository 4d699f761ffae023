"""One progress bar for every stage: what is done, the throughput and the time left, on standard error."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from tqdm import tqdm

from autoseg.base.ranks import is_first

T = TypeVar("T")

# A log file gets one line per 20 seconds instead of a thousand.
_SECONDS_ON_A_TERMINAL, _SECONDS_IN_A_LOG = 0.2, 20.0


def on_terminal() -> bool:
    """Whether standard error is a terminal. Programs without a console have none, others replace it by their own object."""
    try:
        return bool(sys.stderr.isatty())
    except (AttributeError, ValueError, OSError):  # None or without this question; closed
        return False


def _is_hidden() -> bool:
    """Whether bars have nowhere to appear, or another process of the same training shows them."""
    return sys.stderr is None or getattr(sys.stderr, "closed", False) or not is_first()


@contextmanager
def progress_bar(label: str, total: int, unit: str = "case", start: int = 0) -> "Iterator[tqdm[NoReturn]]":
    """A bar to `update()`; what is logged meanwhile appears above it."""
    seconds = _SECONDS_ON_A_TERMINAL if on_terminal() else _SECONDS_IN_A_LOG
    with tqdm(total=total, initial=start, desc=label, unit=unit, mininterval=seconds, dynamic_ncols=True, smoothing=0.1,
              disable=_is_hidden()) as bar:
        yield bar


@contextmanager
def inner_bar(label: str, unit: str, least: int) -> Iterator[Callable[[int, int], None]]:
    """A function of (done, total) that shows the parts of one long item below the bar of all items.

    It is shown on a terminal, where there are `least` parts or more, and disappears at the end.
    """
    bar: tqdm[Any] | None = None

    def show(done: int, total: int) -> None:
        nonlocal bar
        if bar is None:
            if total < least or not on_terminal() or not is_first():
                return
            bar = tqdm(total=total, desc=label, unit=unit, leave=False, dynamic_ncols=True, smoothing=0.1)
        bar.update(done - bar.n)  # less than before where the work begins again with less memory

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def progress(items: Iterable[T], label: str, total: int, unit: str = "case") -> Iterator[T]:
    """The items, with a bar that counts them."""
    with progress_bar(label, total, unit) as bar:
        for item in items:
            yield item
            bar.update()


def duration(seconds: float) -> str:
    """Hours, minutes and seconds for people.

    >>> duration(59.6), duration(754), duration(8100)
    ('60 s', '12 min 34 s', '2 h 15 min')
    """
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
