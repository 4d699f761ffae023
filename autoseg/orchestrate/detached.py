"""Commands that go on when the process that started them has ended, such as a service that is started anew."""

import os
import subprocess  # nosec B404
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.processes import IMPORTS_NOTHING_FROM_HERE, loaded_plugins
from autoseg.workspace.files import appended


@dataclass(frozen=True)
class Training:
    """A fold to train by the plan of a planner. `budget_seconds` None: as the plan says. All words are known ones of the
    workspace: whoever asks for a training checks them.
    """

    dataset: str
    planner: str
    configuration: str
    fold: str
    budget_seconds: float | None = None


def training_command(training: Training, device: str, home: Path) -> list[str]:
    """`autoseg_train` with these words. A value never stands alone, so that none is taken for an option."""
    budget = [] if training.budget_seconds is None else [f"--budget={training.budget_seconds:.0f}s"]
    return [sys.executable, "-m", "autoseg.cli.train", f"--planner={training.planner}", f"--home={home}",
            f"--device={device}", *budget, *(f"--plugin={name}" for name in loaded_plugins()), "--",
            training.dataset, training.configuration, training.fold]


def report_command(dataset: str, home: Path) -> list[str]:
    """`autoseg_report` of a dataset."""
    return [sys.executable, "-m", "autoseg.cli.report", f"--home={home}",
            *(f"--plugin={name}" for name in loaded_plugins()), "--", dataset]


def start_detached(command: Sequence[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start a command whose output is appended to a log, in a session of its own: no signal to this process reaches it."""
    with appended(log) as file:
        return subprocess.Popen(list(command), stdout=file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                env={**os.environ, **IMPORTS_NOTHING_FROM_HERE}, start_new_session=True)  # nosec B603
