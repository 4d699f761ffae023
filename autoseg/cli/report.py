"""autoseg_report: all that is known of a dataset and its models, as one HTML file."""

import argparse
import sys
from pathlib import Path

from autoseg.cli import common


def main(argv: list[str] | None = None) -> int:
    made = common.parser("Write one HTML file, readable without a network: the dataset, the plan, training curves, scores "
                         "with intervals,\nwhat was chosen, the best and the worst cases, failures, calibration, and where "
                         "all of it comes from.\nWhat is not there yet is said, with the command that makes it.",
                         "example: autoseg_report 4")
    made.add_argument("dataset", help="by number or name: 4 or Dataset004_Hippocampus")
    made.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: models/DATASET/report.html")
    return common.run(_run, made, argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg import pipeline

    path = pipeline.report(options.dataset, output=options.output, home=options.home)
    print(f"report written: {path}")


if __name__ == "__main__":
    sys.exit(main())
