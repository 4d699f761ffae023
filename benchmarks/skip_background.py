"""What `--skip_background on` saves with a trained model, and how many voxels it changes.

    python benchmarks/skip_background.py -d 10 -i ../shared/data/Dataset010_STS/imagesTr --home HOME --cases 8

Each case is predicted with and without, in turn, by the model that HOME holds; prints one Markdown table.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from autoseg.prediction.predictor import Predictor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-d", "--dataset", required=True)
    parser.add_argument("-i", "--images", type=Path, required=True)
    parser.add_argument("--home", type=Path, required=True, help="workspace with a trained model")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--cases", type=int, default=8)
    options = parser.parse_args()
    whole, fewer = (Predictor.open(dataset=options.dataset, home=options.home, device=options.device, skip_background=skip)
                    for skip in (False, True))
    inputs = whole.find(options.images)
    print("| case | voxels | foreground | voxels that differ | s | s, skipping |\n|---|---|---|---|---|---|", flush=True)
    rows = []
    for files in inputs.files[:options.cases]:
        case = whole.load(files, inputs.conditions)
        masks, seconds = [], []
        for predictor in (whole, fewer):
            start = time.perf_counter()
            masks.append(predictor.predict(case).label_DHW)
            seconds.append(time.perf_counter() - start)
        rows.append((masks[0].size, np.count_nonzero(masks[0]), np.count_nonzero(masks[0] != masks[1]), *seconds))
        print_row(files.name, rows[-1])
    print_row("all", tuple(np.sum(rows, axis=0)))


def print_row(name: str, row: tuple) -> None:
    voxels, foreground, different, seconds, skipping = row
    print(f"| {name} | {voxels:.0f} | {foreground:.0f} | {different:.0f} | {seconds:.1f} | {skipping:.1f} |", flush=True)


if __name__ == "__main__":
    main()
