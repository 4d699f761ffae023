"""Asks the surface-distance package what it makes of a pair of masks; runs in the interpreter that has the package.

    PYTHON benchmarks/against_surface_distance.py --fixture tests/fixtures/surface_distance.json
    PYTHON benchmarks/against_surface_distance.py --time MASKS.npz      # called by benchmarks/metrics.py

PYTHON is an interpreter with surface-distance, numpy and scipy; autoseg is not needed. The fixture holds values for small
masks that tests/evaluate/test_surface_agreement.py makes anew by `pair_of_masks` below. MASKS.npz holds `truth`, `predicted`
(bool) and `spacing_mm`; a line of JSON with seconds (of the clock and of
the processor) and values comes back.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

TOLERANCES_MM = (0.5, 1.0, 2.0, 4.0)
PAIRS = [{"kind": kind, "seed": seed, "shape": shape, "spacing_mm": spacing_mm}
         for kind in ("ellipsoids", "noise")
         for seed, (shape, spacing_mm) in enumerate((
             ((24, 30, 28), (1.0, 1.0, 1.0)), ((12, 30, 26), (5.0, 0.8, 0.8)), ((20, 18, 33), (2.5, 1.4, 0.6)),
             ((30, 22, 20), (0.7, 0.7, 3.0)), ((40, 44), (1.3, 0.7))))]


def pair_of_masks(kind: str, seed: int, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Two masks that overlap in part: ellipsoids, some cut by the border of the image; or sparse noise."""
    generator = np.random.default_rng(seed)
    if kind == "noise":
        return generator.random(shape) < 0.1, generator.random(shape) < 0.05
    masks = []
    for _ in range(2):
        inside = np.zeros(shape, bool)
        for _ in range(3):
            centre, radius = generator.uniform(0.2, 0.8, len(shape)), generator.uniform(0.1, 0.3, len(shape))
            axes = np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij")
            inside |= sum(((axis - c) / r) ** 2 for axis, c, r in zip(axes, centre, radius, strict=True)) < 1
        masks.append(inside)
    return masks[0], masks[1]


def measure(truth: np.ndarray, predicted: np.ndarray, spacing_mm: tuple[float, ...], tolerances_mm: tuple[float, ...]
            ) -> dict:
    """The package's answers; ASSD is its two averages weighted by the areas of the two surfaces."""
    import surface_distance as sd

    distances = sd.compute_surface_distances(truth, predicted, spacing_mm)
    averages = sd.compute_average_surface_distance(distances)
    areas = [float(distances[key].sum()) for key in ("surfel_areas_gt", "surfel_areas_pred")]
    return {"hd_mm": float(sd.compute_robust_hausdorff(distances, 100)),
            "hd95_mm": float(sd.compute_robust_hausdorff(distances, 95)),
            "assd_mm": float(np.dot(averages, areas) / sum(areas)),
            "nsd": [float(sd.compute_surface_dice_at_tolerance(distances, mm)) for mm in tolerances_mm]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fixture", type=Path)
    parser.add_argument("--time", type=Path)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    if options.fixture is not None:
        measured = [{**pair, "expected": measure(*pair_of_masks(pair["kind"], pair["seed"], pair["shape"]),
                                                 pair["spacing_mm"], TOLERANCES_MM)} for pair in PAIRS]
        options.fixture.write_text(json.dumps({"tolerances_mm": TOLERANCES_MM, "pairs": measured}, indent=1) + "\n")
    if options.time is not None:
        with np.load(options.time) as file:
            truth, predicted, spacing_mm = file["truth"], file["predicted"], tuple(map(float, file["spacing_mm"]))
        seconds, cpu_seconds = [], []
        for _ in range(options.runs):
            begin, begin_cpu = time.perf_counter(), time.process_time()
            values = measure(truth, predicted, spacing_mm, (2.0,))
            seconds.append(time.perf_counter() - begin)
            cpu_seconds.append(time.process_time() - begin_cpu)
        print(json.dumps({"seconds": float(np.median(seconds)), "cpu_seconds": float(np.median(cpu_seconds)), **values}))


if __name__ == "__main__":
    main()
