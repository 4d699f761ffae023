"""autoseg_dicom list: the volumes below a folder of DICOM."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.cli import common

if TYPE_CHECKING:
    from autoseg.datasets.dicom_listing import ListedVolume, Listing

_HEADS = ("case", "patient", "series", "modality", "description", "phase", "slices", "size", "spacing mm", "odd")
_WIDEST = 40  # of a column but the last


def add_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("study", type=Path, metavar="STUDY", help="folder of DICOM, searched at any depth, or one file")
    command.add_argument("--json", action="store_true", help="print JSON, with all UIDs")
    command.add_argument("--dicom-rules", metavar="FILE", type=Path,
                         help="JSON with the rules by which series are matched to channels (default: those of the package)")
    common.add_case_names(command)


def run(options: argparse.Namespace) -> None:
    from autoseg.datasets.dicom_listing import list_study
    from autoseg.datasets.dicom_rules import read_rules

    listing = list_study(options.study, read_rules(options.dicom_rules), options.case_names)
    print(listing.model_dump_json(indent=2) if options.json else "\n".join(_lines(listing)))


def _lines(listing: "Listing") -> list[str]:
    rows = [_HEADS, *map(_row, listing.volumes)]
    widths = [min(_WIDEST, max(len(row[k]) for row in rows)) for k in range(len(_HEADS) - 1)]
    lines = ["  ".join([*(_cut(cell, width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]).rstrip()
             for row in rows]
    return [*lines, *listing.others]


def _row(volume: "ListedVolume") -> tuple[str, ...]:
    size = "" if volume.shape is None else "x".join(map(str, volume.shape))
    spacing = "" if volume.spacing_mm is None else "x".join(f"{value:.4g}" for value in volume.spacing_mm)
    return (volume.case, volume.patient, volume.number, volume.modality, volume.description, volume.phase,
            str(volume.slices), size, spacing, "; ".join(volume.odd))


def _cut(cell: str, width: int) -> str:
    return f"{cell if len(cell) <= width else cell[:width - 3] + '...':{width}}"
