"""An imported model of nnU-Net against nnU-Net itself: whether both say the same of each case, and how long they take.

    python benchmarks/imported_models.py ../shared/models/nnunet_2.8.1_Dataset004 ../shared/data
    python benchmarks/imported_models.py MODEL DATA --nnunet-python PYTHON

MODEL holds a results folder of nnU-Net and `predicted/`, what nnU-Net predicted; DATA holds the raw dataset. The model is
imported into a temporary workspace, and predicts the cases of `predicted/`. `--nnunet-python` is an interpreter that has
nnunetv2 (2.8.1): it predicts the same cases, in one process, as its command does with `-npp 0 -nps 0`. Times are
those of whole processes. Prints Markdown.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autoseg.cli import import_model
from autoseg.formats import read_label
from autoseg.workspace.names import Workspace

_NNUNET = """
import os, sys, torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
images, masks, model = sys.argv[1:]
os.makedirs(masks)
predictor = nnUNetPredictor(device=torch.device("cpu"), allow_tqdm=False)
predictor.initialize_from_trained_model_folder(model, None)
predictor.predict_from_files_sequential(images, masks)
"""


@dataclass(frozen=True)
class Seconds:
    """Of a process with its children: on the clock, and of the processor."""

    wall: float
    cpu: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--nnunet-python", type=Path, metavar="PYTHON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        compare(options, Path(folder))


def compare(options: argparse.Namespace, folder: Path) -> None:
    home, images = folder / "home", folder / "images"
    import_model.main(["nnunet", str(options.model), "--home", str(home)])
    (model,) = Workspace.open(home).models()
    masks = sorted((options.model / "predicted").glob("*.nii.gz"))
    images.mkdir()
    for mask in masks:
        for image in (options.data / model.dataset / "imagesTr").glob(f"{mask.name.removesuffix('.nii.gz')}_*.nii.gz"):
            (images / image.name).symlink_to(image.resolve())
    ours = timed([sys.executable, "-m", "autoseg.cli.predict", "-i", str(images), "-o", str(folder / "ours"), "-m",
                  str(model.path), "--home", str(home)])
    report(masks, folder / "ours")
    print(f"\n| {len(masks)} cases, {os.environ.get('OMP_NUM_THREADS', 'all')} threads | seconds | of the processor |\n"
          f"|---|---|---|\n| autoseg | {ours.wall:.0f} | {ours.cpu:.0f} |")
    if options.nnunet_python:
        (plans,) = options.model.glob("*/plans.json")
        theirs = timed([str(options.nnunet_python), "-c", _NNUNET, str(images), str(folder / "theirs"), str(plans.parent)])
        print(f"| nnU-Net | {theirs.wall:.0f} | {theirs.cpu:.0f} |\n| ratio | {ours.wall / theirs.wall:.2f} | "
              f"{ours.cpu / theirs.cpu:.2f} |\n\nAgainst what nnU-Net predicts here:\n")
        report([folder / "theirs" / mask.name for mask in masks], folder / "ours")


def report(theirs: list[Path], ours: Path) -> None:
    """A row for each case: how many of its voxels have the same label."""
    print("\n| case | voxels | foreground | other label | agreement |\n|---|---|---|---|---|")
    worst = 1.0
    for mask in theirs:
        a, b = read_label(mask)[0], read_label(ours / mask.name)[0]
        other = int(np.count_nonzero(a != b))
        worst = min(worst, 1 - other / a.size)
        print(f"| {mask.name} | {a.size} | {np.count_nonzero(a)} | {other} | {100 * (1 - other / a.size):.4f} % |")
    print(f"\nworst: {100 * worst:.4f} %")


def timed(command: list[str]) -> Seconds:
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = {**os.environ, "nnUNet_raw": "", "nnUNet_preprocessed": "", "nnUNet_results": ""}
    subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Seconds(time.perf_counter() - started,
                   after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


if __name__ == "__main__":
    main()
