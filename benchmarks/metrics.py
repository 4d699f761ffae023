"""How fast cases are scored, beside the surface-distance package; and what a prediction of nothing scores.

    python benchmarks/metrics.py [--reference PYTHON] [--data DATA] [--runs 3]

PYTHON is an interpreter with the surface-distance package; DATA has Dataset004_Hippocampus. Three parts:

- HD95, NSD and ASSD of one pair of masks of 512x512x400 voxels of 0.8x0.8x1 mm, a lobed blob of a liver's size and a
  displaced, warped copy of it: median seconds of a few runs, masks in memory; seconds of the processor beside them, which
  depend less on what else runs.
- Every metric of 200 hippocampi, files read from the disk, against the same labels shifted by a voxel.
- The Dice of all-zero predictions of them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autoseg.evaluation.folders import evaluate_folders
from autoseg.evaluation.score import score_case
from autoseg.evaluation.types import GROUPS, Scoring, scoring_of
from autoseg.formats import read_label, write_label
from planners.schema.labels import LabelSpec

ROOT = Path(__file__).resolve().parents[1]
SHAPE, SPACING_MM = (400, 512, 512), (1.0, 0.8, 0.8)  # z, y, x
RADII_MM = (65.0, 65.0, 82.0)
TOLERANCE_MM = 2.0
HIPPOCAMPUS = LabelSpec(names={"background": (0,), "Anterior": (1,), "Posterior": (2,)})
LIVER = LabelSpec(names={"background": (0,), "liver": (1,)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", metavar="PYTHON", help="interpreter with surface-distance")
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder of real datasets")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print("| what | measured | target |\n|---|---|---|")
    liver(options.reference, options.runs)
    if (options.data / "Dataset004_Hippocampus").is_dir():
        hippocampi(options.data / "Dataset004_Hippocampus" / "labelsTr")
    print(f"\nload average {', '.join(f'{load:.1f}' for load in os.getloadavg())} at the end; {os.cpu_count()} cores")


def liver(reference: str | None, runs: int) -> None:
    truth, predicted = liver_pair(0)
    scoring = Scoring(metrics=("hd95_mm", "assd_mm", "nsd"), nsd_tolerance_mm=TOLERANCE_MM)
    label_maps, seconds, cpu_seconds = (truth.astype(np.int16), predicted.astype(np.int16)), [], []
    for _ in range(runs):
        begin, begin_cpu = time.perf_counter(), time.process_time()
        (score,) = score_case(*label_maps, LIVER, SPACING_MM, "liver", scoring=scoring).labels
        seconds.append(time.perf_counter() - begin)
        cpu_seconds.append(time.process_time() - begin_cpu)
    ours, cpu = float(np.median(seconds)), float(np.median(cpu_seconds))
    print(f"| liver-like pair of {score.truth_ml / 1000:.2f} and {score.predicted_ml / 1000:.2f} L: "
          f"HD95 {score.hd95_mm:.2f} mm, ASSD {score.assd_mm:.3f} mm, NSD {score.nsd:.4f} "
          f"| {ours:.2f} s (processor {cpu:.2f} s) | <= 5 s |",
          flush=True)
    if reference is None:
        return
    theirs = of_the_package(reference, truth, predicted, min(runs, 2))
    print(f"| surface-distance on the same pair: HD95 {theirs['hd95_mm']:.2f} mm, ASSD {theirs['assd_mm']:.3f} mm, "
          f"NSD {theirs['nsd'][0]:.4f} | {theirs['seconds']:.2f} s; ours {ours / theirs['seconds']:.3f} of it "
          f"(processor {theirs['cpu_seconds']:.2f} s, {cpu / theirs['cpu_seconds']:.3f}) | <= 0.2 of it |", flush=True)


def liver_pair(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An ellipsoid with smooth lobes, and the same moved by some voxels with other, smaller lobes on top."""
    generator = np.random.default_rng(seed)
    half = [int(1.5 * radius / mm) for radius, mm in zip(RADII_MM, SPACING_MM, strict=True)]
    grid = np.meshgrid(*((np.arange(-h, h, dtype=np.float32) * mm / radius)
                         for h, mm, radius in zip(half, SPACING_MM, RADII_MM, strict=True)), indexing="ij", sparse=True)
    distance = np.sqrt(sum(axis**2 for axis in grid))
    lobes, other = smooth_noise(generator, distance.shape, 24), smooth_noise(generator, distance.shape, 10)
    masks = []
    for offset, level in (((0, 0, 0), 0.08 * lobes), ((2, -3, 3), 0.08 * lobes + 0.02 * other)):
        mask = np.zeros(SHAPE, bool)
        start = [size // 2 - h + shift for size, h, shift in zip(SHAPE, half, offset, strict=True)]
        mask[tuple(slice(a, a + n) for a, n in zip(start, distance.shape, strict=True))] = distance < 1 + level
        masks.append(mask)
    return masks[0], masks[1]


def smooth_noise(generator: np.random.Generator, shape: tuple[int, ...], coarseness: int) -> np.ndarray:
    """Noise of unit variance that varies over some `coarseness` voxels."""
    coarse = generator.normal(size=[n // coarseness + 4 for n in shape]).astype(np.float32)
    factor = [n / (c - 3) for n, c in zip(shape, coarse.shape, strict=True)]
    noise = coarse
    for axis, (n, step) in enumerate(zip(shape, factor, strict=True)):
        distribute = np.repeat(noise, int(np.ceil(step)), axis=axis)
        noise = np.take(ndimage.uniform_filter1d(distribute, int(np.ceil(step)), axis=axis), range(n), axis=axis)
    return (noise - noise.mean()) / noise.std()


def of_the_package(python: str, truth: np.ndarray, predicted: np.ndarray, runs: int) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        np.savez(Path(scratch) / "masks.npz", truth=truth, predicted=predicted, spacing_mm=SPACING_MM)
        script = Path(__file__).with_name("against_surface_distance.py")
        done = subprocess.run([python, str(script), "--time", str(Path(scratch) / "masks.npz"), "--runs", str(runs)],
                              check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def hippocampi(labels: Path) -> None:
    everything = scoring_of(list(GROUPS))
    with tempfile.TemporaryDirectory() as scratch:
        for path in sorted(labels.glob("*.nii.gz")):
            label_DHW, geometry = read_label(path)
            for name, predicted in (("shifted", np.roll(label_DHW, 1, axis=2)), ("nothing", np.zeros_like(label_DHW))):
                write_label(Path(scratch) / name / path.name, predicted, geometry)
        begin = time.perf_counter()
        shifted = evaluate_folders(labels, Path(scratch) / "shifted", HIPPOCAMPUS, ".nii.gz", os.cpu_count() or 1,
                                   scoring=everything)
        seconds = time.perf_counter() - begin
        means = {name: shifted.foreground_means[name].value for name in ("dice", "hd95_mm", "nsd", "lesion_f1")}
        print(f"| every metric of {shifted.n_cases} hippocampi shifted by a voxel: "
              + ", ".join(f"{name} {value:.3f}" for name, value in means.items()) + f" | {seconds:.1f} s | <= 20 s |",
              flush=True)
        nothing = evaluate_folders(labels, Path(scratch) / "nothing", HIPPOCAMPUS, ".nii.gz", 1)
        values = [label.dice for case in nothing.cases for label in case.labels]
        print(f"| all-zero predictions of {nothing.n_cases} hippocampi: n {nothing.labels[0].means['dice'].n}, undefined "
              f"{values.count(None)} | Dice {nothing.foreground_means['dice'].value:g} | Dice 0, never NaN |")


if __name__ == "__main__":
    main()
