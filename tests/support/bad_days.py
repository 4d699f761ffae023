"""Processes that are killed, and writes that fail, at chosen points of a command; and what the same command makes of it.

A command runs in a forked child. There every call that changes the disk is a point: opening a file to write, renaming,
making a folder, flushing, removing. At point n the child is killed, or the call fails. Calls of libraries in C are reached
through the limit of a file's size: from an opened file on, writing more than a few bytes kills the child, or fails, until
the next point.
"""

import builtins
import errno
import io
import json
import os
import re
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

KILLED, TORN, FAILED, FULL = "killed", "torn", "failed", "full"  # what happens at the point
LEFT = re.compile(r"\.partial_|\.lock$|^tmp")  # names of temporary files
_FEW_BYTES = 40


@dataclass
class Points:
    """Counts the points of this process, and does what is wanted at one of them."""

    root: Path
    counted: Path  # the file that gets the kinds of all points
    at: int = 0
    what: str = ""
    kinds: list[str] = field(default_factory=list)

    def install(self) -> None:
        for name in ("replace", "rename", "mkdir", "unlink", "rmdir"):
            setattr(os, name, self._watched(name, getattr(os, name)))
        os.remove = os.unlink
        os.fsync = self._watched("fsync", os.fsync)
        os.open = self._opening(os.open, lambda flags=0, *_: bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)))
        builtins.open = io.open = self._opening(
            io.open, lambda mode="r", *_: any(letter in mode for letter in "wax+"))

    def _watched(self, name: str, call: Callable) -> Callable:
        def watched(*args, **options):
            if name == "fsync" or self._is_ours(args[0], options.get("dir_fd")):
                self._reach(name, args[0])
            return call(*args, **options)
        return watched

    def _opening(self, call: Callable, writes: Callable[..., bool]) -> Callable:
        def opening(path, *args, **options):
            mode = (options["mode"],) if "mode" in options else args
            if not isinstance(path, int) and writes(*mode) and self._is_ours(path, options.get("dir_fd")):
                self._reach("open", path)
            return call(path, *args, **options)
        return opening

    def _is_ours(self, path, dir_fd=None) -> bool:
        return dir_fd is not None or str(path).startswith(str(self.root))

    def _reach(self, kind: str, path: object) -> None:
        self.kinds.append(kind)
        if len(self.kinds) != self.at:
            if self.what == FULL and len(self.kinds) > self.at:
                _limit(resource.RLIM_INFINITY)
            return
        if self.what == KILLED:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.what == FAILED and kind not in ("unlink", "rmdir"):
            number = (errno.ENOSPC, errno.EIO)[self.at % 2]
            raise OSError(number, os.strerror(number), str(path))
        if self.what in (TORN, FULL):
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL if self.what == TORN else signal.SIG_IGN)
            _limit(_FEW_BYTES)


def _limit(n_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))


@dataclass(frozen=True)
class Outcome:
    """How a child ended: its exit status (-9: killed), what it printed, the points that it reached, what it imported."""

    status: int
    text: str
    kinds: tuple[str, ...]
    modules: tuple[str, ...]


def run_child(command: Callable[[], int], root: Path, at: int = 0, what: str = "", after: float = 0.0) -> Outcome:
    """Run a command in a forked child; at point `at` happens `what`. With `after` it is killed after so many seconds."""
    reader, writer = os.pipe()
    counted = root.parent / "points.json"
    counted.unlink(missing_ok=True)
    child = os.fork()
    if not child:
        os.close(reader)
        _become(command, writer, Points(root, counted, at, what), after)
    os.close(writer)
    with os.fdopen(reader, "rb") as stream:
        text = stream.read().decode(errors="replace")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    known = json.loads(counted.read_text()) if counted.is_file() else {"kinds": (), "modules": ()}
    return Outcome(status, text, tuple(known["kinds"]), tuple(known["modules"]))


def _become(command: Callable[[], int], writer: int, points: Points, after: float) -> None:
    status = 1
    try:
        os.dup2(writer, 1)
        os.dup2(writer, 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
        points.install()
        if after:
            signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            signal.setitimer(signal.ITIMER_REAL, after)
        status = command()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        _limit(resource.RLIM_INFINITY)
        descriptor = os.open(points.counted, os.O_WRONLY | os.O_CREAT, 0o600)
        os.write(descriptor, json.dumps({"kinds": points.kinds, "modules": list(sys.modules)}).encode())
        os._exit(status)


def restore(before: Path, root: Path) -> None:
    """Make `root` what it was before a command."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(before, root, symlinks=True)


def leftovers(root: Path) -> list[str]:
    """Temporary files and locks below a folder."""
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if LEFT.search(path.name))


def fault_after(command: Callable[[], int], before: Path, root: Path, expected: dict[str, object], at: int, what: str,
                after: float = 0.0) -> str:
    """What is wrong when something happens at a point and the same command follows; nothing where all is as it should be."""
    from compared_trees import differences

    restore(before, root)
    first = run_child(command, root, at, what, after)
    if what == KILLED and first.status != -signal.SIGKILL and not after:
        return f"it was not killed but ended with {first.status}: {first.text[-300:]}"
    if what in (FAILED, FULL):
        if first.status not in (0, 2) or "Traceback" in first.text:
            return f"status {first.status}: {first.text[-1500:]}"
        if first.status == 2 and (".partial_" in first.text or str(root) not in first.text):
            return f"the final place is not named: {first.text[-500:]}"
        if first.status == 0 and "cannot be" in first.text:
            return f"status 0 although something could not be written: {first.text[-500:]}"
        if left := [name for name in leftovers(root) if ".partial_" in name]:
            return f"left behind after a failed write: {left}"
    second = run_child(command, root)
    if second.status != 0:
        return f"the same command ended with {second.status}: {second.text[-1500:]}"
    if left := leftovers(root):
        return f"left behind: {left}"
    return differences(root, expected)


def points_of(command: Callable[[], int], before: Path, root: Path) -> Sequence[str]:
    """The kinds of all points of a command that nothing disturbs; it fails the test if the command fails."""
    restore(before, root)
    outcome = run_child(command, root)
    if outcome.status:
        pytest.fail(outcome.text[-3000:])
    return outcome.kinds
