"""Turns one folder per patient into a raw dataset: two phases of CT as channels, the tumour as the label.

    SOURCE/ANNA/arterial.nii.gz   venous.nii.gz   tumour.nii.gz
    SOURCE/BERT/...

    python examples/prepare_multiphase_dataset.py SOURCE ~/autoseg/raw/Dataset007_Tumour
    autoseg_verify -d 7

Files are copied unchanged. Nothing is resampled, so the phases of a patient must lie on one grid; autoseg_verify names the
patients whose phases do not. A patient without a mask or without any phase is left out. A patient who lacks one phase is
kept, and this phase becomes an optional channel. The script lists at the end what is missing.
"""

import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from autoseg.workspace.files import write_atomically, write_json

ENDING = ".nii.gz"
PHASES = {"arterial": "CT_arterial", "venous": "CT_venous"}  # file -> channel
MASK, LABELS = "tumour", {"background": 0, "tumour": 1}


@dataclass(frozen=True)
class Patient:
    """The files that a patient's folder holds, without their ending."""

    folder: Path
    phases: tuple[str, ...]
    has_mask: bool

    @property
    def usable(self) -> bool:
        return self.has_mask and bool(self.phases)

    @property
    def missing(self) -> list[str]:
        wanted = [*(phase for phase in PHASES if phase not in self.phases), *(() if self.has_mask else (MASK,))]
        return [f"{name}{ENDING}" for name in wanted]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="a folder that holds one folder per patient")
    parser.add_argument("target", type=Path, help="the raw dataset to write: .../raw/DatasetNNN_Name")
    options = parser.parse_args(argv)
    patients = find_patients(options.source) if options.source.is_dir() else []
    usable = [patient for patient in patients if patient.usable]
    if usable:
        write_dataset(options.target, usable)
    print(f"{len(usable)} of {len(patients)} patients written to {options.target}" if usable
          else f"{options.source}: no patient has a mask and a phase; nothing was written")
    for patient in patients:
        if patient.missing:
            outcome = "kept" if patient.usable else "left out"
            print(f"  {patient.folder.name}: {', '.join(patient.missing)} missing, {outcome}")
    return 0 if usable else 2


def find_patients(source: Path) -> list[Patient]:
    """Every folder in `source`, in the order of their names."""
    folders = sorted(path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [Patient(folder, tuple(phase for phase in PHASES if (folder / f"{phase}{ENDING}").is_file()),
                    (folder / f"{MASK}{ENDING}").is_file()) for folder in folders]


def write_dataset(target: Path, patients: list[Patient]) -> None:
    """Copy the files to the names of nnU-Net; `dataset.json` is written last and says that the dataset is whole."""
    for patient in patients:
        name = patient.folder.name
        for channel, phase in enumerate(PHASES):
            if phase in patient.phases:
                copy(patient.folder / f"{phase}{ENDING}", target / "imagesTr" / f"{name}_{channel:04}{ENDING}")
        copy(patient.folder / f"{MASK}{ENDING}", target / "labelsTr" / f"{name}{ENDING}")
    optional = [channel for phase, channel in PHASES.items() if any(phase not in p.phases for p in patients)]
    write_json(target / "dataset.json", {
        "channel_names": {str(number): channel for number, channel in enumerate(PHASES.values())}, "labels": LABELS,
        "numTraining": len(patients), "file_ending": ENDING} | ({"optional_channels": optional} if optional else {}))


def copy(source: Path, target: Path) -> None:
    write_atomically(target, lambda temporary: shutil.copyfile(source, temporary))


if __name__ == "__main__":
    sys.exit(main())
