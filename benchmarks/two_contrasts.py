"""One model for two contrasts against one model for each, in the same total time.

    python benchmarks/two_contrasts.py --out contrasts [--budget 8m] [--cases 40]

Half of the phantoms are CT in Hounsfield units. The other half has the contrast of soft tissue inverted, in a unit that
differs from case to case, as magnetic resonance has. Fold 0 is trained: one model on all cases in the whole budget, with the
modality from a table (`one`) and also told it as a condition (`told`), and one model for each contrast on its own half in
half of the budget (`each`). It prints the mean Dice of each label on other phantoms.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from autoseg.cli import common
from autoseg.datasets.phantom import LABELS, REFERENCE, Phantom, make_phantom
from autoseg.evaluation.types import Summary
from autoseg.formats import write_array, write_label
from autoseg.workspace.files import read_model, write_json, write_text

SEED, N_TEST = 17, 16
LOW, HIGH = -160.0, 240.0  # HU, a window of soft tissue
CONTRASTS = ("CT", "MR")
NAME = "Dataset{:03}_Contrasts"
NUMBERS = {"one": 51, "told": 52, "CT": 53, "MR": 54}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="workspace, kept")
    parser.add_argument("--budget", default="8m", help="of all that is trained for one row")
    parser.add_argument("--cases", type=int, default=40, help="half of each contrast")
    parser.add_argument("--models", nargs="+", choices=("one", "told", "each"), default=["one", "told", "each"])
    options = parser.parse_args()
    seconds = common.seconds(options.budget)
    print("| models | seconds | contrast | " + " | ".join(name for name in LABELS if name != "background") + " |")
    print("|---|---|---|" + "---|" * (len(LABELS) - 1))
    write_test_images(options.out, options.cases)
    for models in options.models:
        names = CONTRASTS if models == "each" else (models,)
        for name in names:
            write_dataset(options.out, name, options.cases)
            train(options.out, name, seconds / len(names))
        for contrast in CONTRASTS:
            dice = predicted(options.out, contrast if models == "each" else models, contrast)
            values = " | ".join(f"{value:.3f}" for value in dice.values())
            print(f"| {models} | {seconds:g} | {contrast} | {values} |", flush=True)


def image_of(phantom: Phantom, index: int) -> tuple[str, np.ndarray]:
    """The contrast of a phantom by its number, and its voxels (z, y, x)."""
    hounsfield = np.rint(phantom.ct_CDHW[REFERENCE])
    if index % 2 == 0:
        return "CT", hounsfield
    window = np.clip(hounsfield, LOW, HIGH) - LOW
    unit = np.random.default_rng([SEED, index]).uniform(0.5, 4)
    return "MR", np.rint(unit * np.where(window > 0, HIGH - LOW - window, 0))


def write_dataset(home: Path, name: str, n_cases: int) -> None:
    """All cases with a table of their modalities, or those of one contrast."""
    folder = home / "raw" / NAME.format(NUMBERS[name])
    if (folder / "dataset.json").exists():
        return
    rows, alone = ["case,modality"], name in CONTRASTS
    for index in range(n_cases):
        phantom = make_phantom(SEED, index)
        contrast, image = image_of(phantom, index)
        if not alone or contrast == name:
            write_array(folder / "imagesTr" / f"{phantom.name}_0000.nii.gz", image.astype(np.int16)[None], phantom.geometry)
            write_label(folder / "labelsTr" / f"{phantom.name}.nii.gz", phantom.label_DHW, phantom.geometry)
            rows.append(f"{phantom.name},{contrast}")
    write_text(folder / "clinical.csv", "\n".join(rows) + "\n")
    columns = {"modality": {"kind": "category"}} if name == "told" else {}
    of_both = {"modality_column": "modality", "conditions": {"table": "clinical.csv", "columns": columns}}
    write_json(folder / "dataset.json", {"channel_names": {"0": name if alone else "image"}, "labels": LABELS,
                                         "file_ending": ".nii.gz", **({} if alone else of_both)})


def write_test_images(home: Path, n_cases: int) -> None:
    for index in range(n_cases, n_cases + N_TEST):
        phantom = make_phantom(SEED, index)
        contrast, image = image_of(phantom, index)
        mask = home / f"truth_{contrast}" / f"{phantom.name}.nii.gz"
        if not mask.exists():
            write_array(home / f"test_{contrast}" / f"{phantom.name}_0000.nii.gz", image.astype(np.int16)[None],
                        phantom.geometry)
            write_label(mask, phantom.label_DHW, phantom.geometry)


def train(home: Path, name: str, seconds: float) -> None:
    dataset = NAME.format(NUMBERS[name])
    command("plan_and_preprocess", "-d", dataset, "-c", "3d_fullres", "--budget", f"{seconds:g}s", "--home", str(home))
    command("train", dataset, "3d_fullres", "0", "--home", str(home))


def predicted(home: Path, name: str, contrast: str) -> dict[str, float]:
    """Mean Dice of each label on the test images of a contrast."""
    dataset, masks = NAME.format(NUMBERS[name]), home / f"masks_{name}_{contrast}"
    said = [] if name in CONTRASTS else ["--modality", contrast]
    command("predict", "-i", str(home / f"test_{contrast}"), "-o", str(masks), "-d", dataset, *said, "--home", str(home))
    command("evaluate", "-r", str(home / f"truth_{contrast}"), "-i", str(masks), "-d", dataset, "--home", str(home))
    summary = read_model(masks / "summary.json", Summary)
    return {label.name: label.means["dice"].value or 0.0 for label in summary.labels}


def command(name: str, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", f"autoseg.cli.{name}", *arguments], check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
