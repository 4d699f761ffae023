"""autoseg_import_model: make a trained model of another program a model of the workspace."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser("Make a trained model of another program a model of this workspace, which predicts the same. "
                            "Nothing of it is executed.",
                            "example: autoseg_import_model nnunet ~/nnUNet_results/Dataset004_Hippocampus")
    command.add_argument("source", metavar="SOURCE",
                         help="nnunet: trained models of nnU-Net v2; nnssl: weights that nnssl has pre-trained, to begin a "
                         "training from (--from)")
    command.add_argument("words", nargs="*", metavar="PATH",
                         help="of nnunet: the folder of a dataset or of a model in nnUNet_results, or a zip of it; of nnssl: "
                         "a checkpoint")
    command.add_argument("-d", "--dataset", type=common.positive, metavar="N",
                         help="number of the dataset here (default: of nnunet that of the model, of nnssl the first that is "
                         "free)")
    command.add_argument("-c", "--configuration", metavar="C", default="",
                         help="of nnunet: import this configuration alone (default: all)")
    command.add_argument("--checkpoint", choices=("final", "best"),
                         help="of nnunet: the checkpoint of each fold (default: final, or best where no fold has a final one)")
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> int:
    if options.source not in _SOURCES:
        raise UserError("it is not known what kind of model this is", found=options.source, expected=", ".join(_SOURCES),
                        do="name the kind first: autoseg_import_model nnunet PATH")
    return _SOURCES[options.source](options)


def _only_path(options: argparse.Namespace) -> Path:
    if len(options.words) != 1:
        raise UserError("one path is needed", found=" ".join(options.words) or "none",
                        expected=f"autoseg_import_model {options.source} PATH")
    return Path(options.words[0])


def _nnunet(options: argparse.Namespace) -> int:
    from autoseg.interop.nnunet_model import Wanted, all_in_words, import_nnunet, predict_command
    from autoseg.workspace.names import Workspace

    wanted = Wanted(options.dataset, options.configuration, options.checkpoint)
    imported = import_nnunet(_only_path(options), Workspace.open(options.home), wanted)
    print("\n".join([*all_in_words(imported), "next:",
                     *(f"  {predict_command(each, options.home)}" for each in imported)]))
    return 0


_SOURCES: dict[str, Callable[[argparse.Namespace], int]] = {"nnunet": _nnunet}


if __name__ == "__main__":
    sys.exit(main())
