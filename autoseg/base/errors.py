"""A user's error: one sentence with what is wrong, where, what was found, what was expected and what to do."""

import difflib
import logging
import re
from collections.abc import Iterable, Sequence
from typing import Any

logger = logging.getLogger(__name__)

_SHOWN = 5  # of a list in a sentence
_NEAR = 0.8  # how alike (difflib) a key must be to be taken for a typing error


# What would steer a terminal, or what it cannot show; ends of lines stay.
_UNSEEN = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def visible(text: str) -> str:
    """A text with its control characters written out: names that others chose must not steer a terminal.

    >>> visible("a\\x1b[2J")
    'a\\\\x1b[2J'
    """
    return _UNSEEN.sub(lambda found: repr(found[0])[1:-1], text)


class AutosegError(Exception):
    """Shown to the user without a traceback; the command exits with status 2."""


class UserError(AutosegError):
    """One fault of the user's input, composed into a sentence.

    >>> str(UserError("label values are not declared", where="labelsTr/a.nii.gz", found="7", expected="0, 1",
    ...               do="declare 7 in dataset.json"))
    'labelsTr/a.nii.gz: label values are not declared (found: 7; expected: 0, 1); declare 7 in dataset.json'
    """

    def __init__(self, what: str, *, where: object = None, found: object = None, expected: object = None,
                 do: str | None = None):
        details = [f"{key}: {value}" for key, value in (("found", found), ("expected", expected)) if value is not None]
        sentence = what if where is None else f"{where}: {what}"
        if details:
            sentence += f" ({'; '.join(details)})"
        if do is not None:
            sentence += f"; {do}"
        super().__init__(visible(sentence))


class CannotWrite(UserError):
    """A file that cannot be written or removed: the disk is full, fails, or does not permit it."""


class TooLarge(UserError):
    """A file or case takes more memory than is free now: beside other work, or at all."""


def as_fault(error: Exception, where: object = None) -> AutosegError:
    """What one case raised, as a fault of this case, so that the others go on: a user's error as it is, any other in words.

    Without `where` the caller says which case it is. The traceback goes to the log for `--debug`.
    """
    if isinstance(error, AutosegError):
        return error
    logger.debug("%s", where or "an error that is no user's", exc_info=error)
    if isinstance(error, MemoryError):
        return TooLarge("not enough memory", where=where)
    return UserError(f"{type(error).__name__}: {error}", where=where)


def case_fault(error: Exception, name: str) -> str:
    """What a case raised, in a sentence that names the case."""
    fault = str(as_fault(error, f"case {name}"))
    return fault if re.search(rf"case {re.escape(name)}(?!\w)", fault) else f"case {name}: {fault}"


class TrainingFailed(UserError):
    """A network cannot be trained or cannot predict as planned: another configuration of the same data may do better."""


class ManyFaults(AutosegError):
    """All faults of a dataset at once, one per line."""

    def __init__(self, where: object, faults: list[str]):
        self.faults = tuple(faults)
        count = f"{len(faults)} fault{'s' if len(faults) != 1 else ''}"
        super().__init__(f"{where}: {count} found\n" + "\n".join(f"  - {fault}" for fault in faults))
        self.where = where

    def __reduce__(self) -> tuple[type["ManyFaults"], tuple[str, list[str]]]:
        return ManyFaults, (str(self.where), list(self.faults))  # so that a worker process can raise it


def raise_faults(where: object, faults: Sequence[str]) -> None:
    """Raise one fault as a UserError, several as ManyFaults."""
    if len(faults) == 1:
        raise UserError(faults[0])
    if faults:
        raise ManyFaults(where, list(faults))


def listed(items: Iterable[object], shown: int = _SHOWN) -> str:
    """The first few, with an ellipsis where there are more."""
    texts = [str(item) for item in items]
    return ", ".join(texts[:shown]) + (", ..." if len(texts) > shown else "")


def hint(name: Any, known: Iterable[str], near: float = _NEAR) -> str:
    """`, did you mean 'x'?` where a known name is near, else nothing."""
    close = difflib.get_close_matches(str(name).lower(), {k.lower(): k for k in known}, n=1, cutoff=near)
    original = {k.lower(): k for k in known}
    return f", did you mean {original[close[0]]!r}?" if close else ""
