"""Trainings that bend: --finish and --extend against trainings that were planned so, and what a class weight gives.

    python benchmarks/bends.py time raw/Dataset004_Hippocampus --out bends [--budget 10m] [--seeds 3]
    python benchmarks/bends.py rare --out bends [--budget 5m] [--weights 1 3 10] [--seeds 3]

`time` prints the mean Dice of fold 0, per seed, of: a training that was planned for half of the budget; one of the whole
that was finished at the time at which the first ended; the first extended by the other half; one of the whole. All have the
plan of the whole. `rare` trains on noisy phantoms in which one voxel in 5,000 is of the class `spot`, with each weight.
"""

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from autoseg import pipeline
from autoseg.cli.common import seconds
from autoseg.formats import write_array, write_label
from autoseg.grids.geometry import Geometry
from autoseg.training.validate import FoldResult
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.names import Workspace

NAME, PHANTOM = "3d_fullres", "Dataset041_Spots"
EDGE, SPOT_VOXELS = 48, 22  # 1 voxel in 5,027
LABELS = {"background": 0, "organ": 1, "spot": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    bending, rare = commands.add_parser("time"), commands.add_parser("rare")
    bending.add_argument("dataset", type=Path, help="a raw dataset's folder")
    rare.add_argument("--cases", type=int, default=20)
    rare.add_argument("--weights", type=float, nargs="+", default=[1, 3, 10])
    for command in (bending, rare):
        command.add_argument("--out", type=Path, required=True, help="workspaces, kept")
        command.add_argument("--budget", type=seconds, default="5m")
        command.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    compare_times(options) if options.command == "time" else compare_weights(options)


def compare_times(options: argparse.Namespace) -> None:
    raw = options.dataset.resolve()
    prepared = prepare(options, raw)
    print("| seed | training | iterations | training s | total s | mean Dice |\n|---|---|---|---|---|---|")
    for seed in range(options.seeds):
        half = copied(prepared, options.out / f"half_{seed}")
        planned = train(half, raw.name, seed, "--set", f"schedule.budget_seconds={options.budget / 2}")
        finished = copied(prepared, options.out / f"finished_{seed}")
        extended = copied(half, options.out / f"extended_{seed}")
        row(seed, "planned for half", planned)
        row(seed, "finished at half", finish(finished, raw.name, seed, planned.training_seconds))
        row(seed, "half, extended", train(extended, raw.name, seed, "--extend", f"{options.budget / 2}s"))
        row(seed, "whole", train(copied(prepared, options.out / f"whole_{seed}"), raw.name, seed))


def compare_weights(options: argparse.Namespace) -> None:
    raw = options.out / "phantoms" / PHANTOM
    write_phantoms(raw, options.cases)
    prepared = prepare(options, raw)
    print("| seed | weight of spot | Dice of organ | Dice of spot |\n|---|---|---|---|")
    for seed in range(options.seeds):
        for weight in options.weights:
            home = copied(prepared, options.out / f"weight_{weight:g}_{seed}")
            result = train(home, PHANTOM, seed, *(["--class_weights", f"spot={weight}"] if weight != 1 else []))
            dice = [label.means["dice"].value or 0.0 for label in result.scores.labels]
            print(f"| {seed} | {weight:g} | " + " | ".join(f"{value:.3f}" for value in dice) + " |", flush=True)


def prepare(options: argparse.Namespace, raw: Path) -> Path:
    home = options.out / "prepared"
    link = home / "raw" / raw.name
    link.parent.mkdir(parents=True, exist_ok=True)
    if not link.exists():
        link.symlink_to(raw.resolve())
    command(home, "plan_and_preprocess", "-d", raw.name, "-c", NAME, "--budget", f"{options.budget}s")
    return home


def copied(home: Path, target: Path) -> Path:
    if target.exists():
        shutil.rmtree(target)
    return Path(shutil.copytree(home, target, symlinks=True))


def train(home: Path, dataset: str, seed: int, *more: str) -> FoldResult:
    command(home, "train", dataset, NAME, "0", "--seed", str(seed), *more)
    return result_of(home, dataset)


def finish(home: Path, dataset: str, seed: int, after: float) -> FoldResult:
    """Train in a process of its own, which is asked to finish `after` seconds."""
    process = subprocess.Popen(words(home, "train", dataset, NAME, "0", "--seed", str(seed)), stdout=subprocess.DEVNULL)
    time.sleep(after)
    while process.poll() is None and not Workspace(home).fold(dataset, "budgeted", NAME, 0).is_started:
        time.sleep(0.2)
    if process.poll() is None:
        pipeline.ask_to_finish(dataset, NAME, 0, home=home)
    if process.wait():
        raise SystemExit("the training failed")
    return result_of(home, dataset)


def result_of(home: Path, dataset: str) -> FoldResult:
    return read_model(Workspace(home).fold(dataset, "budgeted", NAME, 0).result, FoldResult)


def row(seed: int, title: str, result: FoldResult) -> None:
    of_planned = "" if result.planned_iterations is None else f" of {result.planned_iterations}"
    print(f"| {seed} | {title} | {result.schedule.iterations}{of_planned} | {result.training_seconds:.0f} | "
          f"{result.total_seconds:.0f} | {result.mean_dice:.4f} |", flush=True)


def write_phantoms(folder: Path, n_cases: int) -> None:
    """A ball in noise, somewhere in it a spot that is a little brighter."""
    geometry = Geometry((EDGE,) * 3, (1.0, 1.0, 1.0))
    for index in range(n_cases):
        random = np.random.default_rng(index)
        centre = random.uniform(EDGE * 0.35, EDGE * 0.65, 3)
        spot = centre + random.uniform(-5, 5, 3)
        organ_DHW = distance(centre) < random.uniform(11, 14)
        nearest = np.argpartition(distance(spot).ravel(), SPOT_VOXELS)[:SPOT_VOXELS]
        label_DHW = organ_DHW.astype(np.int16)
        label_DHW.ravel()[nearest] = 2
        image_DHW = random.normal(0, 0.35, label_DHW.shape) + 1.0 * (label_DHW > 0) + 0.8 * (label_DHW > 1)
        write_array(folder / "imagesTr" / f"spot_{index:02}_0000.nii.gz", image_DHW[None].astype(np.float32), geometry)
        write_label(folder / "labelsTr" / f"spot_{index:02}.nii.gz", label_DHW, geometry)
    write_json(folder / "dataset.json", {"channel_names": {"0": "MR"}, "labels": LABELS, "numTraining": n_cases,
                                         "file_ending": ".nii.gz"})


def distance(point: np.ndarray) -> np.ndarray:
    axes = np.indices((EDGE,) * 3)
    return np.sqrt(sum((axis - value) ** 2 for axis, value in zip(axes, point, strict=True)))


def words(home: Path, name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"autoseg.cli.{name}", *arguments, "--home", str(home)]


def command(home: Path, name: str, *arguments: str) -> None:
    subprocess.run(words(home, name, *arguments), check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
