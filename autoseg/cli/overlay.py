"""autoseg_overlay: one case in three planes, with the contours of its truth and of a prediction."""

import argparse
import sys
from pathlib import Path

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser("Draw an image in three planes with the contours of its label (line) and of a prediction "
                            "(dashed).",
                            "example: autoseg_overlay -i imagesTr/case_0000.nii.gz -l labelsTr/case.nii.gz "
                            "-p masks/case.nii.gz -o case.png -d 4")
    command.add_argument("-i", "--image", required=True, type=Path, metavar="FILE", help="one channel of the case")
    command.add_argument("-l", "--label", required=True, type=Path, metavar="FILE", help="its true label")
    command.add_argument("-p", "--prediction", type=Path, metavar="FILE", help="a predicted mask, on the label's grid")
    command.add_argument("-o", "--output", required=True, type=Path, metavar="FILE", help="the picture, .png")
    meaning = command.add_mutually_exclusive_group()
    meaning.add_argument("-d", "--dataset", metavar="D",
                         help="dataset that names the labels (default: labels are named by their values)")
    meaning.add_argument("--dataset_json", type=Path, metavar="FILE", help="its dataset.json, instead of -d")
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg import pipeline
    from autoseg.workspace.names import Workspace

    described = options.dataset_json
    if options.dataset is not None:
        workspace = Workspace.open(options.home)
        described = workspace.raw(workspace.dataset(options.dataset))
    path = pipeline.overlay(options.image, options.label, options.output, predicted=options.prediction,
                            dataset_json=described)
    print(f"picture written: {path}")


if __name__ == "__main__":
    sys.exit(main())
