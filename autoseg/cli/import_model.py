"""autoseg_import_model: make a model in one file, or one of another program, a model of the workspace."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser("Bring a model that autoseg_export_model wrote into the workspace, or one of another program, "
                            "which then predicts the same.\nNothing of it is executed.",
                            "example: autoseg_import_model liver.zip -d 12\n"
                            "         autoseg_import_model nnunet ~/nnUNet_results/Dataset004_Hippocampus")
    command.add_argument("source", metavar="SOURCE",
                         help="the zip that autoseg_export_model wrote; or nnunet: trained models of nnU-Net v2; or nnssl: "
                         "weights that nnssl has pre-trained, to begin a training from (--from)")
    command.add_argument("words", nargs="*", metavar="PATH",
                         help="of nnunet: the folder of a dataset or of a model in nnUNet_results, or a zip of it; of "
                         "nnssl: a checkpoint")
    command.add_argument("-d", "--dataset", type=common.positive, metavar="N",
                         help="number of the dataset here (default: that of the model; of nnssl the first that is free)")
    command.add_argument("-c", "--configuration", metavar="C", default="",
                         help="of nnunet: import this configuration alone (default: all)")
    command.add_argument("--checkpoint", choices=("final", "best"),
                         help="of nnunet: the checkpoint of each fold (default: final, or best where no fold has a "
                         "final one)")
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> int:
    if options.source in _SOURCES:
        return _SOURCES[options.source](options)
    if Path(options.source).suffix != ".zip" and not Path(options.source).is_file():
        raise UserError("it is not known what kind of model this is", found=options.source,
                        expected=f"a zip of autoseg_export_model, or {', '.join(_SOURCES)}",
                        do="name the kind first: autoseg_import_model nnunet PATH")
    return _archive(options)


def _archive(options: argparse.Namespace) -> int:
    from autoseg.interop.archive_import import import_archive
    from autoseg.workspace.names import Workspace

    more = [*options.words, *filter(None, (options.configuration, options.checkpoint))]
    if more:
        raise UserError("a model in one file is imported as a whole", found=" ".join(more),
                        expected="autoseg_import_model FILE.zip [-d N]")
    folder = import_archive(Path(options.source), Workspace.open(options.home), options.dataset)
    print(f"imported: {folder}\nnext: autoseg_predict -d {folder.name} -i imgs -o masks")
    return 0


def _only_path(options: argparse.Namespace) -> Path:
    if len(options.words) != 1:
        raise UserError("one path is needed", found=" ".join(options.words) or "none",
                        expected=f"autoseg_import_model {options.source} PATH")
    return Path(options.words[0])


def _nnunet(options: argparse.Namespace) -> int:
    from autoseg.interop.imported import in_words
    from autoseg.interop.nnunet_model import Wanted, import_nnunet
    from autoseg.workspace.names import Workspace

    wanted = Wanted(options.dataset, options.configuration, options.checkpoint)
    imported = import_nnunet(_only_path(options), Workspace.open(options.home), wanted)
    where = f" --home {options.home}" if options.home else ""
    lines = [line for each in imported for line in in_words(each)]
    for model in (each.model for each in imported):
        number = int(model.dataset.removeprefix("Dataset").split("_")[0])
        chosen = f"-d {number} -c {model.configuration} -p {model.planner}"
        lines.append(f"next: autoseg_predict -i IMAGES -o MASKS {chosen}{where}")
    print("\n".join(lines))
    return 0


def _nnssl(options: argparse.Namespace) -> int:
    from autoseg.interop.imported import in_words
    from autoseg.interop.nnssl import NAME, import_nnssl
    from autoseg.workspace.names import Workspace

    imported = import_nnssl(_only_path(options), Workspace.open(options.home), options.dataset)
    folder = imported.model.pretraining(NAME).path
    where = f" --home {options.home}" if options.home else ""
    print("\n".join([*in_words(imported), "next:", f"  autoseg_plan_and_preprocess -d D --like {folder}{where}",
                     f"  autoseg_train D {imported.model.configuration} 0 -p like_{NAME} --from {folder}{where}"]))
    return 0


_SOURCES: dict[str, Callable[[argparse.Namespace], int]] = {"nnunet": _nnunet, "nnssl": _nnssl}


if __name__ == "__main__":
    sys.exit(main())
