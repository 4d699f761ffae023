"""Standard streams that last as long as the command: a program without a console has none, a pipe may be closed."""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO


class Lasting:
    """A text stream whose faults end nothing: a closed pipe or a full disk below a log must not stop a training.

    `fault` is the first of them, None while all that was written arrived.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream
        self.fault: Exception | None = None

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self.fault = self.fault or error
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self.fault = self.fault or error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def lasting_streams() -> Iterator[Lasting]:
    """Within this context both standard streams are there and never fail; yields standard output.

    File descriptors 0 to 2 that are closed (`2>&-`) get the null device. Otherwise the next file that is opened would take
    the number, and what a C library writes to standard error would end in a mask.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the smallest free number, which is this one
    with open(os.devnull, "w") as nowhere, _saying_all(sys.stdout), _saying_all(sys.stderr):
        printed, logged = (Lasting(_usable(stream) or nowhere) for stream in (sys.stdout, sys.stderr))
        streams: tuple[Any, Any] = printed, logged
        with redirect_stdout(streams[0]), redirect_stderr(streams[1]):
            yield printed


@contextmanager
def _saying_all(stream: TextIO | None) -> Iterator[None]:
    """Within this context a stream writes out the characters that its encoding lacks: names of cases have any."""
    errors = getattr(stream, "errors", None)
    if not isinstance(stream, io.TextIOWrapper) or stream.closed or errors is None:
        yield
        return
    stream.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        if not stream.closed:
            stream.reconfigure(errors=errors)


def discard_rest(stream: Lasting) -> None:
    """Let the null device take what the stream still holds, so that the interpreter does not fail with it at its end."""
    try:
        descriptor = stream.fileno()
    except (AttributeError, OSError, ValueError):
        return
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _usable(stream: TextIO | None) -> TextIO | None:
    return None if stream is None or getattr(stream, "closed", False) else stream
