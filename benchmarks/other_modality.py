"""How well a model predicts a contrast that it never saw, without and with random contrast in training (`--appearance`).

    python benchmarks/other_modality.py --out modality [--budget 4m] [--cases 40]

Phantoms in a soft-tissue window (arbitrary units, so that nothing is known of Hounsfield units) train fold 0. Other phantoms
are predicted as they are, and with their tissue inverted: what was bright is dark, and air stays dark. It prints the mean
Dice of each label.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from autoseg.datasets.phantom import LABELS, REFERENCE, make_phantom
from autoseg.evaluation.types import Summary
from autoseg.formats import write_array, write_label
from autoseg.workspace.files import read_model, write_json

SEED, N_TEST = 11, 12
LOW, HIGH = -160.0, 240.0  # HU, a window of soft tissue
NAME = "Dataset036_Window"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="workspaces, kept")
    parser.add_argument("--budget", default="4m")
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--appearance", nargs="+", default=["none", "gin", "histogram"])
    options = parser.parse_args()
    print("| appearance | test images | " + " | ".join(name for name in LABELS if name != "background") + " |")
    print("|---|---|" + "---|" * (len(LABELS) - 1))
    for appearance in options.appearance:
        home = options.out / appearance
        write_dataset(home, options.cases)
        trained(home, options.budget, appearance)
        for kind in ("seen", "inverted"):
            dice = predicted(home, kind)
            print(f"| {appearance} | {kind} | " + " | ".join(f"{value:.3f}" for value in dice.values()) + " |", flush=True)


def write_dataset(home: Path, n_cases: int) -> None:
    folder = home / "raw" / NAME
    if (folder / "dataset.json").exists():
        return
    for index in range(n_cases + N_TEST):
        phantom = make_phantom(SEED, index)
        image = np.clip(np.rint(phantom.ct_CDHW[REFERENCE]), LOW, HIGH) - LOW
        if index < n_cases:
            write_array(folder / "imagesTr" / f"{phantom.name}_0000.nii.gz", image.astype(np.int16)[None], phantom.geometry)
            write_label(folder / "labelsTr" / f"{phantom.name}.nii.gz", phantom.label_DHW, phantom.geometry)
            continue
        inverted = np.where(image > 0, HIGH - LOW - image, 0)
        for kind, values in (("seen", image), ("inverted", inverted)):
            write_array(home / kind / f"{phantom.name}_0000.nii.gz", values.astype(np.int16)[None], phantom.geometry)
        write_label(home / "truth" / f"{phantom.name}.nii.gz", phantom.label_DHW, phantom.geometry)
    write_json(folder / "dataset.json", {"channel_names": {"0": "MR"}, "labels": LABELS, "numTraining": n_cases,
                                         "file_ending": ".nii.gz"})


def trained(home: Path, budget: str, appearance: str) -> None:
    command("plan_and_preprocess", "-d", NAME, "-c", "3d_fullres", "--budget", budget, "--home", str(home))
    extra = [] if appearance == "none" else ["--appearance", appearance]
    command("train", NAME, "3d_fullres", "0", *extra, "--home", str(home))


def predicted(home: Path, kind: str) -> dict[str, float]:
    masks = home / f"masks_{kind}"
    model = home / "models" / NAME / "budgeted" / "3d_fullres"
    command("predict", "-i", str(home / kind), "-o", str(masks), "-m", str(model), "--home", str(home))
    command("evaluate", "-r", str(home / "truth"), "-i", str(masks), "-d", NAME, "--home", str(home))
    summary = read_model(masks / "summary.json", Summary)
    return {label.name: label.means["dice"].value or 0.0 for label in summary.labels}


def command(name: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"autoseg.cli.{name}", *arguments], check=True,
                   stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
