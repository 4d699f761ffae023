"""autoseg_verify: every fault of a raw dataset at once."""

import argparse
import sys

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser("Check every file of a raw dataset and list all faults at once.", "example: autoseg_verify -d 4")
    command.add_argument("-d", "--dataset", required=True, metavar="D", help="by number or name")
    common.add_outcomes(command)
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg.base.processes import expect_workers

    if options.workers != 1:
        expect_workers()
    from autoseg import pipeline
    from autoseg.base.errors import ManyFaults

    report = pipeline.verify(options.dataset, home=options.home, workers=options.workers,
                             allow_outcomes=options.allow_outcome_conditions)
    for warning in report.warnings:
        print(f"warning: {warning}")
    if report.faults:
        raise ManyFaults(options.dataset, list(report.faults))
    print(f"{options.dataset}: no fault found")


if __name__ == "__main__":
    sys.exit(main())
