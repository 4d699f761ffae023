"""autoseg_export: a raw dataset, or saved probabilities, in the layout of another program."""

import argparse
import sys
from pathlib import Path

from autoseg.cli import common, scoring


def parser() -> argparse.ArgumentParser:
    command = common.parser("Write a raw dataset in the layout of nnU-Net v2, so that its own check accepts it, or saved "
                            "probabilities, so that nnUNetv2_ensemble averages them.\nWhat nnU-Net cannot read is left out, "
                            "and said.",
                            "example: autoseg_export nnunet 12 -o ~/nnUNet_raw")
    command.add_argument("layout", choices=("nnunet", "nnunet_probabilities"), metavar="LAYOUT",
                         help="nnunet: a raw dataset of nnU-Net v2; nnunet_probabilities: CASE.npz and CASE.pkl")
    command.add_argument("source", metavar="WHAT", help="of nnunet: the dataset, by number or name; of "
                         "nnunet_probabilities: the folder that autoseg_predict --save_probabilities wrote")
    command.add_argument("-o", "--output", required=True, type=Path, metavar="DIR",
                         help="folder in which DatasetNNN_Name is made, such as that of nnUNet_raw; or that of the files")
    command.add_argument("--channels", nargs="+", default=[], metavar="C", help="of nnunet: channels to export; cases that "
                         "lack one of them are left out (default: all)")
    command.add_argument("--copy", action="store_true", help="of nnunet: copy files in place of linking them")
    scoring.add_labels(command)
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> int:
    workers = common.start_workers(options)
    return _dataset(options, workers) if options.layout == "nnunet" else _probabilities(options, workers)


def _dataset(options: argparse.Namespace, workers: int) -> int:
    from autoseg.base.errors import UserError
    from autoseg.interop.export_nnunet import export_nnunet
    from autoseg.workspace.names import Workspace

    if options.dataset is not None or options.dataset_json is not None:
        raise UserError("-d and --dataset_json say what probabilities are of", expected="autoseg_export nnunet D -o DIR")
    workspace = Workspace.open(options.home)
    exported = export_nnunet(workspace, workspace.dataset(options.source), options.output, channels=options.channels,
                             copy=options.copy, workers=workers)
    test = f", {exported.n_test} to test" * bool(exported.n_test)
    print(f"{exported.n_training} case{'s' * (exported.n_training != 1)}{test}: {exported.folder}")
    for note in exported.notes:
        print(f"note: {note}")
    return 0


def _probabilities(options: argparse.Namespace, workers: int) -> int:
    from autoseg.base.errors import UserError
    from autoseg.datasets.dataset import read_manifest
    from autoseg.interop.export_probabilities import export_probabilities

    if options.channels or options.copy:
        raise UserError("--channels and --copy are of datasets",
                        expected="autoseg_export nnunet_probabilities DIR -o DIR -d D")
    manifest = read_manifest(scoring.described(options))
    exported = export_probabilities(Path(options.source), options.output, manifest.labels, manifest.channels,
                                    workers=workers)
    print(f"{exported.n_cases} case{'s' * (exported.n_cases != 1)} written to {options.output}")
    return common.list_faults(list(exported.faults))


if __name__ == "__main__":
    sys.exit(main())
