"""autoseg_import_model: bring a model in one file into the workspace."""

import argparse
import sys
from pathlib import Path

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser("Bring a model that autoseg_export_model wrote into the workspace. Nothing in the file is "
                            "executed, and each of its parts\nis compared with its checksum.",
                            "example: autoseg_import_model liver.zip -d 12")
    command.add_argument("source", type=Path, metavar="FILE", help="the zip that autoseg_export_model wrote")
    command.add_argument("-d", "--dataset", type=int, metavar="N",
                         help="number of the dataset here (default: as in the file)")
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg.interop.archive_import import import_archive
    from autoseg.workspace.names import Workspace

    folder = import_archive(options.source, Workspace.open(options.home), options.dataset)
    print(f"imported: {folder}\nnext: autoseg_predict -d {folder.name} -i imgs -o masks")


if __name__ == "__main__":
    sys.exit(main())
