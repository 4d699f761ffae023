"""What is running: the command as it was typed, or the name of the Python function, without names of people and machines."""

import os
import platform
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

_COMMAND: ContextVar[str] = ContextVar("command", default="")
_ADDRESS = "--cluster"  # its value names machines, and may hold a password


@contextmanager
def running(command: str) -> Iterator[None]:
    """Within this context `command` runs; the outermost counts."""
    if _COMMAND.get():
        yield
        return
    token = _COMMAND.set(command)
    try:
        yield
    finally:
        _COMMAND.reset(token)


def called(function: F) -> F:
    """Decorate a function that people call: it runs under its own name, unless a command runs."""
    return running(".".join(("autoseg", function.__name__)))(function)


def running_command() -> str:
    """The command or function that runs here; empty where neither is known."""
    return _COMMAND.get()


def command_line(program: str, arguments: Sequence[str], home: str | None) -> str:
    """A command as it was typed in the workspace `home` (None: the default). Absolute paths are written as of WORKSPACE, the
    working directory or USER_HOME; of others the last name is kept. Addresses, and names that are those of the user or the
    machine, are replaced.
    """
    shown = [program]
    for before, argument in zip(("", *arguments), arguments, strict=False):
        option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        is_address = "://" in value or (_ADDRESS in (before, option) and bool(value))
        shown.append(option + equals + ("ADDRESS" if is_address else _nameless(value, home)))
    return shlex.join(shown)


def _nameless(text: str, home: str | None) -> str:
    path = Path(text)
    with suppress(RuntimeError):  # a user who has no home
        path = path.expanduser()
    if path.is_absolute():
        text = _placed(path, home)
    elif "/" not in text and os.sep not in text:
        return text
    secret = _names()
    return "/".join("NAME" if part.lower() in secret else part for part in text.replace(os.sep, "/").split("/"))


def _placed(path: Path, home: str | None) -> str:
    roots = []
    with suppress(OSError):  # a working directory that was removed
        roots += [("WORKSPACE", Path(os.path.abspath(home)))] if home else []
        roots.append((".", Path.cwd()))
    with suppress(RuntimeError):
        roots.append(("USER_HOME", Path.home()))
    for name, root in roots:
        if path.is_relative_to(root) and root != Path(root.anchor):
            return f"{name}/{path.relative_to(root).as_posix()}".removesuffix("/.")
    return f"ELSEWHERE/{path.name}"


def _names() -> set[str]:
    """Of the user and of the machine, in lower case."""
    names = {os.environ.get(variable, "") for variable in ("LOGNAME", "USER", "USERNAME")} | {platform.node()}
    with suppress(RuntimeError):
        names.add(Path.home().name)
    return {name.lower() for name in names} - {""}
