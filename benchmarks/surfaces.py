"""How far surface metrics of several packages are from geometry: moved spheres, discs and boxes, as tables in Markdown.

    python benchmarks/surfaces.py [--peers PYTHON]

PYTHON is an interpreter with monai and surface-distance; autoseg is not needed there. The shapes are those of the tests
(tests/support/moved_shapes.py). Each figure is the mean, and the largest, of the deviations from the true value in per cent.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
METRICS = ("ASSD", "HD95", "NSD")

PEERS = """
import json, sys, warnings
import numpy as np
warnings.filterwarnings("ignore")
import torch, monai.metrics as mm, surface_distance as sd
answers = []
for path in sys.argv[1:]:
    with np.load(path) as file:
        a, b, spacing, half = file["a"], file["b"], tuple(map(float, file["spacing"])), float(file["half"])
    d = sd.compute_surface_distances(a, b, spacing)
    areas = [d[k].sum() for k in ("surfel_areas_gt", "surfel_areas_pred")]
    deepmind = [np.dot(sd.compute_average_surface_distance(d), areas) / sum(areas), sd.compute_robust_hausdorff(d, 95),
                sd.compute_surface_dice_at_tolerance(d, half)]
    x, y = (torch.from_numpy(m.astype(np.float32))[None, None] for m in (b, a))
    monai = [mm.compute_average_surface_distance(x, y, include_background=True, symmetric=True, spacing=spacing).item(),
             mm.compute_hausdorff_distance(x, y, include_background=True, percentile=95, spacing=spacing).item(),
             mm.compute_surface_dice(x, y, [half], include_background=True, spacing=spacing).item()]
    answers.append({"DeepMind": [float(v) for v in deepmind], "MONAI": monai})
print(json.dumps(answers))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", metavar="PYTHON", help="interpreter with monai and surface-distance")
    options = parser.parse_args()
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]
    from autoseg.evaluation import metrics
    from autoseg.evaluation.surface import surface_distances
    from moved_shapes import MOVED

    answers: dict[str, list[list[float]]] = {}
    truths, pairs = [], []
    for moved in MOVED:
        pair, true_mm, half = moved.masks(), moved.distances_mm(), moved.length_mm / 2
        truths.append([true_mm.mean(), np.percentile(true_mm, 95), (true_mm <= half).mean()])
        pairs.append((*pair, moved.spacing_mm, half))
        for surface in ("mesh", "surfel"):
            distances = surface_distances(*pair, moved.spacing_mm, surface=surface)
            answers.setdefault(surface, []).append([metrics.assd_mm(distances), metrics.hausdorff_mm(distances, 95),
                                                    metrics.nsd(distances, half)])
    if options.peers is not None:
        for answer in of_the_peers(options.peers, pairs):
            for name, values in answer.items():
                answers.setdefault(name, []).append(values)
    kinds = {"spheres": [m.kind == "ball" and len(m.spacing_mm) == 3 and len(set(m.spacing_mm)) == 1 for m in MOVED],
             "spheres, thick slices": [m.kind == "ball" and len(set(m.spacing_mm)) > 1 for m in MOVED],
             "discs": [m.kind == "ball" and len(m.spacing_mm) == 2 for m in MOVED],
             "boxes": [m.kind == "box" for m in MOVED]}
    print("| shapes | surface | " + " | ".join(METRICS) + " |\n|---|---|" + "---:|" * len(METRICS))
    for kind, chosen in kinds.items():
        for name, values in answers.items():
            off = 100 * (np.array(values)[chosen] / np.array(truths)[chosen] - 1)
            cells = [f"{mean:+.0f} ({worst:+.0f})" for mean, worst in
                     zip(off.mean(0), off[np.abs(off).argmax(0), range(len(METRICS))], strict=True)]
            print(f"| {kind} ({sum(chosen)}) | {name} | " + " | ".join(cells) + " |")


def of_the_peers(python: str, pairs: list[tuple]) -> list[dict[str, list[float]]]:
    with tempfile.TemporaryDirectory() as scratch:
        paths = []
        for number, (a, b, spacing_mm, half) in enumerate(pairs):
            paths.append(Path(scratch) / f"{number}.npz")
            np.savez(paths[-1], a=a, b=b, spacing=spacing_mm, half=half)
        done = subprocess.run([python, "-c", PEERS, *map(str, paths)], check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


if __name__ == "__main__":
    main()
