"""Predicts one small case thousands of times in one process, and prints whether memory, threads and open handles grow.

    python benchmarks/soak.py                        # 2,000 predictions by an open Predictor
    python benchmarks/soak.py --by autoseg.predict   # 2,000 calls that open the model, and write the mask into a folder
    python benchmarks/soak.py --by alternating       # two models in turn: one predicts a file, one a folder

The first 100 predictions are warm-up: what is loaded and cached once does not count. Exit status 1 where the last figures
are more than 5 % above those after the warm-up.
"""

import argparse
import gc
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import autoseg
from autoseg.base.runtime import Runtime
from autoseg.datasets.dataset import Dataset
from autoseg.preprocessing.run import preprocess_dataset
from autoseg.training.run import run_fold
from autoseg.workspace.names import Workspace
from tests_support import small_plan, write_spheres

WARM_UP, MARGIN = 100, 0.05
CASE = "ball_00_0000.nii.gz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=2000, help="predictions after the warm-up")
    parser.add_argument("--every", type=int, default=200, help="predictions between two lines")
    parser.add_argument("--by", choices=("Predictor", "autoseg.predict", "alternating"), default="Predictor")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        predict = predictions(options.by, Path(folder))
        for number in range(WARM_UP):
            predict(number)
        first = last = figures()
        print("| predictions | memory [MiB] | threads | handles | seconds |\n|---|---|---|---|---|")
        start = time.monotonic()
        for number in range(1, options.n + 1):
            predict(number)
            if number % options.every == 0 or number == options.n:
                last = figures()
                print(f"| {number} | {last[0]:.1f} | {last[1]} | {last[2]} | {time.monotonic() - start:.0f} |", flush=True)
    growth = [now / before - 1 for before, now in zip(first, last, strict=True)]
    print(f"after the warm-up: {first[0]:.1f} MiB, {first[1]} threads, {first[2]} handles; growth: memory {growth[0]:+.1%}, "
          f"threads {growth[1]:+.1%}, handles {growth[2]:+.1%}")
    sys.exit(max(growth) > MARGIN)


def figures() -> tuple[float, int, int]:
    """Memory of this process [MiB], its threads and its open handles."""
    gc.collect()
    process = psutil.Process()
    n_handles = process.num_handles() if hasattr(process, "num_handles") else process.num_fds()
    return process.memory_info().rss / 2**20, process.num_threads(), n_handles


def predictions(by: str, folder: Path) -> Callable[[int], object]:
    """A function that predicts the case once more; its argument counts the predictions."""
    model, images = trained(folder / "home")
    image, masks = images / CASE, folder / "masks"
    alone = folder / "alone"
    alone.mkdir()
    (alone / CASE).write_bytes(image.read_bytes())
    if by == "autoseg.predict":
        return lambda _: autoseg.predict(alone, masks, folder=model, device="cpu")
    predictor = autoseg.Predictor.open(folder=model, device="cpu")
    if by == "Predictor":
        return lambda _: predictor.predict_file(image)
    other = autoseg.Predictor.open(folder=model, device="cpu", mirroring=False)
    return lambda number: (other.predict_file(image) if number % 2
                           else autoseg.predict_folder(predictor, alone, masks, probabilities=True))


def trained(home: Path) -> tuple[Path, Path]:
    """A small trained model, and the folder of the images."""
    workspace, plan = Workspace(home), small_plan()
    raw, (name,) = workspace.raw_roots()[0] / plan.dataset, plan.configurations
    write_spheres(raw, n_cases=5)
    cases = workspace.cases(plan.dataset, plan.planner, name)
    preprocess_dataset(Dataset.open(raw), plan, name, cases, workers=1).raise_faults()
    run_fold(workspace, plan, name, 0, Runtime(torch.device("cpu"), torch.float32))
    return workspace.model(plan.dataset, plan.planner, name).path, raw / "imagesTr"


if __name__ == "__main__":
    main()
