"""Shared by all commands: common options, units of time and memory, and how errors are shown."""

import argparse
import errno
import logging
import os
import sys
import traceback
from collections.abc import Callable, Mapping

from autoseg.cli.streams import discard_rest, lasting_streams

_TIME = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MEMORY = {"m": 2**20, "g": 2**30}
_FAULTS_OF_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)  # such as of the system's folder for temporary files
_STATUS_OF_LOST_OUTPUT = 141  # as the shell reports a program that a closed pipe ended


def parser(description: str, epilog: str = "") -> argparse.ArgumentParser:
    """A parser with the options that every command has."""
    command = argparse.ArgumentParser(description=description, epilog=epilog,
                                      formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("--home", metavar="DIR",
                         help="workspace with raw/, prepared/ and models/ (default: $AUTOSEG_HOME or ~/autoseg)")
    command.add_argument("--plugin", metavar="MODULE", action="append", default=[],
                         help="import this Python module first, to register your own parts; may be repeated")
    command.add_argument("--debug", action="store_true", help="show tracebacks and debug messages")
    return command


def add_device(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", metavar="DEVICE",
                         help="auto, cpu, cuda, cuda:N or mps (default: auto, the GPU if there is one)")


def add_devices(command: argparse.ArgumentParser) -> None:
    command.add_argument("--devices", metavar="LIST",
                         help="train one fold per device at a time, each in a process of its own: 0,1 or cuda:0,cuda:1 "
                              "(default: all GPUs, if --device is auto and there are several)")
    command.add_argument("--cluster", metavar="ADDRESS",
                         help="run folds on a Ray cluster whose machines share the workspace: auto, or ray://HOST:PORT")


def add_deterministic(command: argparse.ArgumentParser) -> None:
    command.add_argument("--deterministic", action="store_true",
                         help="same plan, data, seed and machine: same weights, bit for bit. The number of iterations is "
                              "the one that the plan foresees, so the time budget is kept only roughly; a GPU trains slower")


def list_faults(faults: list[str]) -> int:
    """Print one fault per line; the exit status: 2 if there is any, else 0."""
    if faults:
        print(f"{len(faults)} failed:\n" + "\n".join(f"  - {fault}" for fault in faults), file=sys.stderr)
    return 2 if faults else 0


def add_workers(command: argparse.ArgumentParser) -> None:
    command.add_argument("--workers", type=positive, metavar="N",
                         help="number of processes (default: one per core, as memory allows)")


def add_outcomes(command: argparse.ArgumentParser) -> None:
    command.add_argument("--allow-outcome-conditions", action="store_true",
                         help="accept conditions whose names look like outcomes, which are known only after the images")


def run(main: Callable[[argparse.Namespace], int | None], command: argparse.ArgumentParser,
        argv: list[str] | None) -> int:
    """Parse and run a command; the exit status: 0, 2 for a user's error, 130 for an interruption, 1 for a bug, 141 where
    what it printed could not be written.
    """
    with lasting_streams() as printed:
        options = command.parse_intermixed_args(argv)  # options may stand between the words
        _set_environment()
        _configure_logging(options.debug)
        status = _run(main, options, command.prog)
        printed.flush()
        if printed.fault is None:
            return status
        discard_rest(printed)
        if not isinstance(printed.fault, BrokenPipeError):  # whoever closed a pipe had read enough
            print(f"{command.prog}: the output could not be written: {printed.fault}", file=sys.stderr)
        return status or _STATUS_OF_LOST_OUTPUT


def _run(main: Callable[[argparse.Namespace], int | None], options: argparse.Namespace, program: str) -> int:
    from autoseg.base.errors import AutosegError
    from autoseg.base.processes import load_plugin

    try:
        for name in options.plugin:
            load_plugin(name)
        return main(options) or 0
    except AutosegError as error:
        if options.debug:
            traceback.print_exc()
        print(f"{program}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in _FAULTS_OF_DISKS or options.debug:
            raise
        print(f"{program}: {error.filename or 'the disk'}: {error.strerror}; see to the disk, then try again",
              file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{program}: stopped", file=sys.stderr)
        return 130


def seconds(text: str) -> float:
    """Seconds from `90s`, `30m`, `4h`, `1.5d`; a number without a unit is refused."""
    return _with_unit(text, _TIME, "a time such as 90s, 30m or 4h")


def memory(text: str) -> int:
    """Bytes from `800M` or `8G` (powers of 1024)."""
    value = _with_unit(text.lower().removesuffix("ib").removesuffix("b"), _MEMORY, "a memory such as 800M or 8G")
    return max(1, int(value))


def positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, found {text!r}")
    return int(text)


def _set_environment() -> None:
    """Set the variables that torch reads when it is imported.

    OpenMP threads spin briefly at a barrier before they sleep (benchmarks/step.py). Without spinning a training step is
    slower on an idle machine; with long spinning it is slower beside another busy process. Operations that torch cannot
    run on Apple's GPUs (some in three dimensions, depending on its version) run on the CPU.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")


def _with_unit(text: str, units: Mapping[str, float], expected: str) -> float:
    try:
        value = float(text[:-1]) * units[text[-1:].lower()]
    except (KeyError, ValueError):
        raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}") from None
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"expected {expected}, more than zero, found {text!r}")
    return value


class _Lines(logging.StreamHandler):
    """Writes log lines above a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        from autoseg.base.errors import visible

        tqdm.write(visible(self.format(record)), file=sys.stderr)


def _configure_logging(debug: bool) -> None:
    handler = _Lines()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s" if debug else "%(message)s"))
    for package in ("autoseg", "planners"):
        logger = logging.getLogger(package)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.DEBUG if debug else logging.INFO)
