"""autoseg_export: a raw dataset in the layout of another program."""

import argparse
import sys
from pathlib import Path

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser("Write a raw dataset in the layout of nnU-Net v2, so that its own check accepts it. What "
                            "nnU-Net cannot read is left out, and said.",
                            "example: autoseg_export nnunet 12 -o ~/nnUNet_raw")
    command.add_argument("layout", choices=("nnunet",), metavar="LAYOUT", help="nnunet: a raw dataset of nnU-Net v2")
    command.add_argument("dataset", metavar="D", help="by number or name")
    command.add_argument("-o", "--output", required=True, type=Path, metavar="DIR",
                         help="folder in which DatasetNNN_Name is made, such as that of nnUNet_raw")
    command.add_argument("--channels", nargs="+", default=[], metavar="C", help="channels to export; cases that lack one of "
                         "them are left out (default: all)")
    command.add_argument("--copy", action="store_true", help="copy files in place of linking them")
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg.base.processes import cores, expect_workers
    from autoseg.interop.export_nnunet import export_nnunet
    from autoseg.workspace.names import Workspace

    if options.workers != 1:
        expect_workers()
    workspace = Workspace.open(options.home)
    exported = export_nnunet(workspace, workspace.dataset(options.dataset), options.output, channels=options.channels,
                             copy=options.copy, workers=options.workers or cores())
    test = f", {exported.n_test} to test" * bool(exported.n_test)
    print(f"{exported.n_training} case{'s' * (exported.n_training != 1)}{test}: {exported.folder}")
    for note in exported.notes:
        print(f"note: {note}")


if __name__ == "__main__":
    sys.exit(main())
