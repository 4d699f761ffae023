"""autoseg_report: everything about a dataset and its models, as one HTML file."""

import argparse
import sys
from pathlib import Path

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser("Write one HTML file that needs no network: the dataset, the plan, training curves, scores with "
                            "intervals,\nthe selection, the best and worst cases, failures, quality control, explanations, "
                            "outcomes,\nscores on other datasets, and the origin of all results. The report names each "
                            "missing part with the command\nthat makes it.",
                            "example: autoseg_report 4")
    command.add_argument("dataset", help="by number or name: 4 or Dataset004_Hippocampus")
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: models/DATASET/report.html")
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg import pipeline

    path = pipeline.report(options.dataset, output=options.output, home=options.home)
    print(f"report written: {path}")


if __name__ == "__main__":
    sys.exit(main())
