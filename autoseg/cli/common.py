"""Shared by all commands: common options, units of time and memory, and how errors are shown."""

import argparse
import errno
import logging
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.base.stopping import Stopped, stop_with_parent, stoppable
from autoseg.cli.streams import discard_rest, lasting_streams

if TYPE_CHECKING:
    from autoseg.datasets.dicom_cases import DicomInput
    from autoseg.orchestrate.distribute import Cluster

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


def add_cluster(command: argparse.ArgumentParser) -> None:
    command.add_argument("--cluster", metavar="ADDRESS",
                         help="run folds on a cluster whose machines share the workspace: slurm; or Ray: auto, or "
                              "ray://HOST:PORT")
    add_slurm(command)


def add_slurm(command: argparse.ArgumentParser) -> None:
    command.add_argument("--slurm", action="append", default=[], metavar="KEY=VALUE",
                         help="with --cluster slurm, what each job takes: time=4h, gpus=1, cpus=4, memory=32G; how many run "
                              "at a time: parallel=8; or any option of sbatch: partition=NAME; may be repeated")


def add_tracker(command: argparse.ArgumentParser) -> None:
    command.add_argument("--tracker", action="append", default=[], metavar="NAME",
                         help="show the training in mlflow, tensorboard or wandb; offline, unless their environment "
                              "variables say otherwise; may be repeated")


def cluster(options: argparse.Namespace) -> "Cluster | None":
    """The cluster that the options name; None without one."""
    from autoseg.base.errors import UserError
    from autoseg.orchestrate.slurm import LOCAL, SLURM, SlurmJobs
    from autoseg.workspace.names import Workspace

    if options.cluster in (SLURM, LOCAL):
        return SlurmJobs.parse(options.cluster, options.slurm, Workspace.open(options.home).jobs)
    if options.slurm:
        raise UserError("--slurm says nothing without --cluster slurm", found=" ".join(options.slurm))
    return options.cluster


def add_memory(command: argparse.ArgumentParser) -> None:
    command.add_argument("--memory", type=memory, metavar="SIZE",
                         help="memory to plan for, such as 8G (default: the memory of the device)")


def add_seed(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=int, default=0, help="seed of weights, sampling and augmentation (default: 0)")


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


def start_workers(options: argparse.Namespace) -> int:
    """The number of worker processes that `add_workers` asks for, by default one per core; their server starts early."""
    from autoseg.base.processes import cores, expect_workers

    if options.workers != 1:
        expect_workers()
    return options.workers or cores()


def add_series(command: argparse.ArgumentParser) -> None:
    command.add_argument("--series", metavar="CHANNEL=SERIES", action="append", default=[],
                         help="of DICOM: the series of a channel by its number or UID, such as CT=4; of several phases in "
                              "one series CT_venous=5:2; may be repeated (default: what the rules find, if that is one)")
    command.add_argument("--dicom-rules", metavar="FILE", type=Path,
                         help="of DICOM: JSON with the rules by which series are matched to channels (default: those of the "
                              "package, autoseg/datasets/dicom_rules.json)")


def add_case_names(command: argparse.ArgumentParser) -> None:
    command.add_argument("--case-names", choices=("pseudonym", "PatientID"), default="pseudonym",
                         help="of DICOM: name cases by a pseudonym of the study, or by the patient's identifier (default: "
                              "pseudonym)")


def dicom_input(options: argparse.Namespace) -> "Path | DicomInput":
    """What `--input` names: with the choices of `add_series`, if one was made."""
    from autoseg.datasets.dicom_cases import DicomInput

    if not (options.series or options.dicom_rules or options.case_names != "pseudonym"):
        path: Path = options.input
        return path
    return DicomInput(options.input, options.dicom_rules, tuple(options.series), options.case_names)


def add_outcomes(command: argparse.ArgumentParser) -> None:
    command.add_argument("--allow-outcome-conditions", action="store_true",
                         help="accept conditions whose names look like outcomes, which are known only after the images")


def run(main: Callable[[argparse.Namespace], int | None], command: argparse.ArgumentParser,
        argv: list[str] | None) -> int:
    """Parse and run a command; the exit status: 0, 2 for a user's error, 1 for a bug, 141 where what it printed could not be
    written; 128 and the number of the signal that stopped it, such as 130 for Ctrl-C and 143 for SIGTERM.
    """
    with lasting_streams() as printed:
        options = command.parse_intermixed_args(argv)  # options may stand between the words
        _set_environment()
        _configure_logging(options.debug)
        stop_with_parent()
        words = [_name_of(main, command), *(sys.argv[1:] if argv is None else argv)]
        try:
            with stoppable():
                status = _run(main, options, command.prog, words)
        except KeyboardInterrupt as interrupt:
            stop = interrupt if isinstance(interrupt, Stopped) else Stopped(signal.SIGINT)
            status = stop.status
            if os.environ.get("RANK", "0") == "0":  # of processes that train together one speaks
                can_keep = any("--keep_existing" in action.option_strings for action in command._actions)
                print(f"{command.prog}: {_stopped(stop, words, can_keep=can_keep)}", file=sys.stderr)
        printed.flush()
        if printed.fault is None:
            return status
        discard_rest(printed)
        if not isinstance(printed.fault, BrokenPipeError):  # whoever closed a pipe had read enough
            print(f"{command.prog}: the output could not be written: {printed.fault}", file=sys.stderr)
        return status or _STATUS_OF_LOST_OUTPUT


def _run(main: Callable[[argparse.Namespace], int | None], options: argparse.Namespace, program: str, words: Sequence[str]
         ) -> int:
    from autoseg.base.command import command_line, running
    from autoseg.base.errors import AutosegError
    from autoseg.base.processes import load_plugin

    try:
        for name in options.plugin:
            load_plugin(name)
        typed = command_line(words[0], words[1:], options.home or os.environ.get("AUTOSEG_HOME"))
        with running(typed):
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


def _name_of(main: Callable[[argparse.Namespace], int | None], command: argparse.ArgumentParser) -> str:
    """The console command, also where it was started as a module: `python -m autoseg.cli.train` is `autoseg_train`."""
    module = getattr(sys.modules[main.__module__].__spec__, "name", "")
    return module.replace("autoseg.cli.", "autoseg_").rstrip("_") if module.startswith("autoseg.cli.") else command.prog


def _stopped(stop: Stopped, words: Sequence[str], *, can_keep: bool) -> str:
    """What was stopped by which signal, and the command that goes on."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        again = "the same torchrun command" + (", without --restart" if stop.is_resumable else "")
    else:
        dropped = ("--restart", "--replan") if stop.is_resumable else ()
        kept = [word for word in words if not any(len(word) > 4 and name.startswith(word) for name in dropped)]
        more = ["--keep_existing"] if can_keep and "--keep_existing" not in words else []
        again = shlex.join([*kept, *more])
    return "; ".join(filter(None, (f"stopped by {stop.number.name}", stop.saved, f"go on with: {again}")))


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
