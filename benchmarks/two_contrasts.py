"""One model for two contrasts against one model for each, in the same total time.

    python benchmarks/two_contrasts.py --out contrasts [--budget 8m] [--cases 40]
    python benchmarks/two_contrasts.py --out sarcomas --source DATASET010 [--budget 20m]

Half of the phantoms are CT in Hounsfield units. The other half has the contrast of soft tissue inverted, in a unit that
differs from case to case, as magnetic resonance has. Fold 0 is trained: one model on all cases in the whole budget, with the
modality from a table (`one`) and also given it as a condition (`conditioned`), and one model for each contrast on its own half in
half of the budget (`each`). It prints the mean Dice of each label on other phantoms.

`--source` is a raw dataset with the channels CT and MR_T1, such as the sarcomas: of each training case one of them is given,
the MR on the grid of the CT. The last third of the cases is predicted, once from each.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.cli import common
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.phantom import LABELS, REFERENCE, make_phantom
from autoseg.datasets.raw import load_case
from autoseg.evaluation.types import Summary
from autoseg.formats import write_array, write_label
from autoseg.grids.geometry import Geometry
from autoseg.workspace.files import read_json, read_model, write_json, write_text
from planners.schema.channels import ChannelSpec

SEED, N_TEST = 17, 16
LOW, HIGH = -160.0, 240.0  # HU, a window of soft tissue
CONTRASTS = ("CT", "MR")
NAME = "Dataset{:03}_Contrasts"
NUMBERS = {"one": 51, "conditioned": 52, "CT": 53, "MR": 54}


@dataclass(frozen=True)
class Scan:
    """A case in one contrast."""

    name: str
    contrast: str
    image_DHW: np.ndarray
    label_DHW: np.ndarray
    geometry: Geometry

    def write(self, images: Path, labels: Path) -> None:
        write_array(images / f"{self.name}_0000.nii.gz", np.rint(self.image_DHW).astype(np.int16)[None], self.geometry)
        write_label(labels / f"{self.name}.nii.gz", self.label_DHW, self.geometry)


@dataclass(frozen=True)
class Source:
    """Where scans come from: phantoms, or the raw dataset of a folder."""

    folder: Path | None
    n_phantoms: int

    @property
    def labels(self) -> dict[str, int]:
        return LABELS if self.folder is None else read_json(self.folder / "dataset.json")["labels"]

    def training(self) -> Iterator[Scan]:
        """Each case in one contrast, half of them in each."""
        if self.folder is None:
            yield from (phantom_scan(index) for index in range(self.n_phantoms))
            return
        names = Dataset.open(self.folder).names
        for index, name in enumerate(names[: 2 * len(names) // 3]):
            yield real_scan(self.folder, name, CONTRASTS[index % 2])

    def test(self) -> Iterator[Scan]:
        if self.folder is None:
            yield from (phantom_scan(index) for index in range(self.n_phantoms, self.n_phantoms + N_TEST))
            return
        names = Dataset.open(self.folder).names
        for name in names[2 * len(names) // 3 :]:
            yield from (real_scan(self.folder, name, contrast) for contrast in CONTRASTS)


def phantom_scan(index: int) -> Scan:
    phantom = make_phantom(SEED, index)
    image_DHW = np.rint(phantom.ct_CDHW[REFERENCE])
    if index % 2 == 1:
        window = np.clip(image_DHW, LOW, HIGH) - LOW
        unit = np.random.default_rng([SEED, index]).uniform(0.5, 4)
        image_DHW = unit * np.where(window > 0, HIGH - LOW - window, 0)
    return Scan(phantom.name, CONTRASTS[index % 2], image_DHW, phantom.label_DHW, phantom.geometry)


def real_scan(folder: Path, name: str, contrast: str) -> Scan:
    dataset = Dataset.open(folder)
    channels = tuple(ChannelSpec(name=channel.name, reference=channel.name == "CT",
                                 registration="none" if channel.name == "CT" else "regrid")
                     for channel in dataset.manifest.channels)
    case = load_case(dataset.case(name), channels, dataset.manifest.labels)
    number = next(k for k, channel in enumerate(channels) if channel.modality == contrast.lower())
    return Scan(name, contrast, case.image_CDHW[number], case.label_DHW, case.geometry)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="workspace, kept")
    parser.add_argument("--source", type=Path, help="raw dataset with CT and MR (default: phantoms)")
    parser.add_argument("--budget", default="8m", help="of all that is trained for one row")
    parser.add_argument("--cases", type=int, default=40, help="phantoms, half of each contrast")
    parser.add_argument("--models", nargs="+", choices=("one", "conditioned", "each"), default=["one", "conditioned", "each"])
    options = parser.parse_args()
    seconds, source = common.seconds(options.budget), Source(options.source, options.cases)
    names = [name for name in source.labels if name != "background"]
    print("| models | seconds | contrast | " + " | ".join(names) + " |")
    print("|---|---|---|" + "---|" * len(names))
    write_test_images(options.out, source)
    for models in options.models:
        names = CONTRASTS if models == "each" else (models,)
        for name in names:
            write_dataset(options.out, name, source)
            train(options.out, name, seconds / len(names))
        for contrast in CONTRASTS:
            dice = predicted(options.out, contrast if models == "each" else models, contrast)
            values = " | ".join(f"{value:.3f}" for value in dice.values())
            print(f"| {models} | {seconds:g} | {contrast} | {values} |", flush=True)


def write_dataset(home: Path, name: str, source: Source) -> None:
    """All cases with a table of their modalities, or those of one contrast."""
    folder = home / "raw" / NAME.format(NUMBERS[name])
    if (folder / "dataset.json").exists():
        return
    rows, alone = ["case,modality"], name in CONTRASTS
    for scan in source.training():
        if not alone or scan.contrast == name:
            scan.write(folder / "imagesTr", folder / "labelsTr")
            rows.append(f"{scan.name},{scan.contrast}")
    write_text(folder / "clinical.csv", "\n".join(rows) + "\n")
    columns = {"modality": {"kind": "category"}} if name == "conditioned" else {}
    of_both = {"modality_column": "modality", "conditions": {"table": "clinical.csv", "columns": columns}}
    write_json(folder / "dataset.json", {"channel_names": {"0": name if alone else "image"}, "labels": source.labels,
                                         "file_ending": ".nii.gz", **({} if alone else of_both)})


def write_test_images(home: Path, source: Source) -> None:
    if not (home / "truth_MR").exists():
        for scan in source.test():
            scan.write(home / f"test_{scan.contrast}", home / f"truth_{scan.contrast}")


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
