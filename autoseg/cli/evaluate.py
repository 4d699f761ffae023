"""autoseg_evaluate: score a folder of predictions against a folder of labels."""

import argparse
import sys
from pathlib import Path

from autoseg.cli import common


def main(argv: list[str] | None = None) -> int:
    made = common.parser("Score predictions against labels, case by case and label by label.",
                         "example: autoseg_evaluate -r labelsTs -i masks -d 4")
    made.add_argument("-r", "--reference", required=True, type=Path, metavar="DIR", help="folder with the true labels")
    made.add_argument("-i", "--input", required=True, type=Path, metavar="DIR", help="folder with the predictions")
    made.add_argument("-d", "--dataset", metavar="D", help="dataset whose labels these are")
    made.add_argument("--dataset_json", type=Path, metavar="FILE", help="its dataset.json, instead of -d")
    made.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: summary.json in the input folder")
    common.add_workers(made)
    return common.run(_run, made, argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg import pipeline
    from autoseg.base.errors import ManyFaults, UserError
    from autoseg.base.workspace import Workspace, write_json
    from autoseg.evaluate.score import table

    if options.dataset_json is not None:
        described = options.dataset_json
    elif options.dataset is not None:
        workspace = Workspace.open(options.home)
        described = workspace.raw(workspace.dataset(options.dataset))
    else:
        raise UserError("the meaning of the labels is not given", do="name the dataset with -d, or --dataset_json FILE")
    summary = pipeline.evaluate(options.reference, options.input, described, workers=options.workers)
    write_json(options.output or options.input / "summary.json", summary)
    print(table(summary))
    if summary.faults:
        raise ManyFaults(options.input, list(summary.faults))


if __name__ == "__main__":
    sys.exit(main())
