"""autoseg_verify: every fault of a raw dataset at once."""

import argparse
import os
import sys

from autoseg.cli import common

_USUAL_WIDTH, _LEAST_WIDTH = 120, 60  # of the table, in characters


def parser() -> argparse.ArgumentParser:
    command = common.parser("Check every file of a raw dataset and list all faults at once, by their kind.",
                            "example: autoseg_verify -d 4")
    command.add_argument("-d", "--dataset", required=True, metavar="D", help="by number or name")
    command.add_argument("--all", action="store_true", help="print each fault and warning in a line of its own")
    common.add_outcomes(command)
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> int:
    common.start_workers(options)
    from autoseg import pipeline
    from autoseg.cli.findings_table import counted, findings_table
    from autoseg.workspace.names import Workspace

    report = pipeline.verify(options.dataset, home=options.home, workers=options.workers,
                             allow_outcomes=options.allow_outcome_conditions)
    workspace = Workspace.open(options.home)
    folder = workspace.raw(workspace.dataset(options.dataset))
    width = _width()
    for texts, word, stream in ((report.faults, "fault", sys.stderr), (report.warnings, "warning", sys.stdout)):
        if texts and options.all:
            print("\n".join(f"{word}: {text}" for text in texts), file=stream, flush=True)
        elif texts:
            print(f"{findings_table(texts, word, folder, width)}\n", file=stream, flush=True)
    found = f"{counted(len(report.faults), 'fault')} found" if report.faults else "no fault found"
    warned = f", {counted(len(report.warnings), 'warning')}" if report.warnings else ""
    print(f"{options.dataset}: {found}{warned}", file=sys.stderr if report.faults else sys.stdout)
    return 2 if report.faults else 0


def _width() -> int:
    """Characters in a line of the terminal, or a usual number where there is none."""
    try:
        return max(_LEAST_WIDTH, os.get_terminal_size().columns)
    except OSError:
        return _USUAL_WIDTH


if __name__ == "__main__":
    sys.exit(main())
