"""autoseg_export_model: write a trained model into one file that names no patient, or as ONNX."""

import argparse
import sys
from pathlib import Path

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser("Write a trained model into one file, to give away: what autoseg_predict would use with the "
                            "same options (folds, ensembles,\ncascades, the choice, postprocessing, quality control), "
                            "checksums and a card. It names no case, file, folder or row of a table.",
                            "example: autoseg_export_model -d 1 -o liver.zip --licence CC-BY-4.0")
    command.add_argument("-d", "--dataset", required=True, metavar="D", help="trained dataset")
    command.add_argument("-o", "--output", required=True, type=Path, metavar="PATH",
                         help="the file, such as liver.zip; with --format onnx a folder")
    command.add_argument("-c", "--configuration", metavar="C",
                         help="configuration (default: from inference.json, else the best validation Dice)")
    command.add_argument("-p", "--planner", metavar="NAME", help="planner of the model (default: likewise)")
    command.add_argument("-f", "--folds", nargs="+", metavar="F", help="folds (default: all finished with a number)")
    command.add_argument("--licence", "--license", dest="licence", default="", metavar="NAME",
                         help="licence under which you give the model away, such as CC-BY-4.0 (default: not stated)")
    command.add_argument("--rare_values", choices=("hide", "name"), default="hide",
                         help="categories of the table that fewer than three patients have: hide takes them for any other "
                              "value, name keeps them, so that the file says them (default: hide)")
    command.add_argument("--format", choices=("zip", "onnx"), default="zip",
                         help="onnx: a graph per fold and predict_onnx.py, which needs numpy and onnxruntime alone "
                              "(default: zip, one file for autoseg)")
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg.workspace.names import Workspace

    workspace = Workspace.open(options.home)
    chosen = {"configuration": options.configuration, "planner": options.planner, "folds": options.folds}
    if options.format == "onnx":
        from autoseg.interop.onnx_export import export_onnx

        graphs = export_onnx(workspace, options.dataset, options.output, **chosen)
        print(f"{len(graphs)} {'graph' if len(graphs) == 1 else 'graphs'} written to {options.output}\nnext: python "
              f"{options.output / 'predict_onnx.py'} image.npy mask.npy --spacing Z Y X")
        return
    from autoseg.reporting.share import export_model

    path = export_model(workspace, options.dataset, options.output, licence=options.licence,
                        rare_values=options.rare_values, **chosen)
    print(f"written: {path}\nnext: autoseg_predict -m {path} -i imgs -o masks")


if __name__ == "__main__":
    sys.exit(main())
