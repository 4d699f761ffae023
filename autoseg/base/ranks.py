"""The processes that train one fold together. Alone, every function here gives back what it was given, and waits for none.

`join` makes this process one of several; what they compute is then the same in all of them, wherever one of these
functions says so.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process's number among `n`, and how many of them share this machine."""

    rank: int = 0
    n: int = 1
    n_local: int = 1


_ALONE = Ranks()
_joined = _ALONE


def ranks() -> Ranks:
    return _joined


def is_first() -> bool:
    """Whether this process writes what the fold leaves, logs and shows progress: the first does, and one that is alone."""
    return _joined.rank == 0


@contextmanager
def join(member: Ranks) -> Iterator[None]:
    """Within this context the process is one of several; torch.distributed must know the others."""
    global _joined
    _joined = member
    try:
        yield
    finally:
        _joined = _ALONE


def wait_for_all() -> None:
    """Go on when all processes have come here."""
    agreed(None)


@contextmanager
def first_goes_first() -> Iterator[None]:
    """The first process does this before the others do, which find what it wrote."""
    if not is_first():
        wait_for_all()
    yield
    if is_first():
        wait_for_all()


def agreed(value: T) -> T:
    """The first process's value, in all of them. Clocks differ; what follows from one must not."""
    if _joined.n == 1:
        return value
    import torch.distributed as dist

    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gathered(values: Sequence[T]) -> list[T]:
    """The values of all processes, in all of them, the first one's first."""
    if _joined.n == 1:
        return list(values)
    import torch.distributed as dist

    boxes: list[list[T]] = [[]] * _joined.n
    dist.all_gather_object(boxes, list(values))
    return [value for box in boxes for value in box]


def share_of(values: Sequence[T]) -> list[T]:
    """Every n-th value: this process's share of the work."""
    return list(values[_joined.rank :: _joined.n])


def total(tensor: "torch.Tensor") -> "torch.Tensor":
    """The sum over all processes, the same in all of them.

    Its derivative by this process's term is 1, as a sum's is: where every process computes one and the same loss from
    totals, `backward` gives the part of the gradient that flows through its own samples, and the whole gradient is the
    sum of these parts over the processes.
    """
    if _joined.n == 1:
        return tensor
    import torch.distributed as dist

    summed = tensor.detach().clone()
    dist.all_reduce(summed)
    return tensor - tensor.detach() + summed  # the first two are exactly 0, and leave the derivative


def average(tensor: "torch.Tensor") -> "torch.Tensor":
    """The mean over all processes of a mean over equally many elements, which is the mean over all elements."""
    return tensor if _joined.n == 1 else total(tensor / _joined.n)
