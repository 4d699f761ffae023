"""What registration recovers of known offsets, which unrelated pairs it rejects, and what it does to real pairs.

    python benchmarks/registration.py                              # phantoms: 5 seeds a row
    python benchmarks/registration.py --sts ../shared/data/Dataset010_STS STS_001 STS_019 STS_030

Prints Markdown tables. Phantoms are 48^3 voxels of 1 mm in two contrasts (the bump: 3 times as large, 36^3 of 4 mm). Seconds
are wall time on one thread; the load average beside them says what else ran.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np
import scipy.ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from autoseg.formats import read_image
from autoseg.grids.geometry import Geometry
from autoseg.grids.transform import Registered, Transform, indices_of, points_of
from autoseg.preprocessing.registration import register_channel
from registration_phantoms import (
    Anatomy,
    bump,
    bumped_pair,
    cube,
    first_contrast,
    grid_points,
    moved_back,
    offset_pair,
    picture,
    rotation,
    second_contrast,
)

SMOOTHNESS_MM = (0.0, 3.0, 6.0, 8.0)  # of the noise that stands for an unrelated image
POINTS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--part", default="", choices=("known", "unrelated"), help="of the phantoms; both without it")
    parser.add_argument("--sts", nargs="+", metavar=("FOLDER", "CASE"), help="Dataset010_STS and some of its cases")
    parser.add_argument("--kind", default="rigid", help="of registration, for the real cases")
    options = parser.parse_args()
    if options.sts:
        real(Path(options.sts[0]), options.sts[1:], options.kind)
    for part in (known, unrelated) if not options.sts else ():
        if options.part in ("", part.__name__):
            part(options.seeds)
    print(f"\nload average {', '.join(f'{load:.1f}' for load in os.getloadavg())} at the end")


def timed(*pair, kind: str) -> tuple[Registered, float]:
    begin = time.perf_counter()
    return register_channel(*pair, kind=kind), time.perf_counter() - begin


def body_points(anatomy: Anatomy) -> np.ndarray:
    points = grid_points(cube())
    return points[anatomy.inside(points)]


def known(seeds: int) -> None:
    """Offsets that are known, and how far the points of the body are from where they belong, in mm."""
    print("| pair | seed | kept | before, mean / max mm | after, mean / max mm | likeness | s |")
    print("|---|---|---|---|---|---|---|")
    for seed in range(seeds):
        anatomy = Anatomy(seed)
        points = body_points(anatomy)
        coarse = cube(48, (4.0, 4.0, 4.0))
        for name, grid, degrees, shift_mm in (("5 degrees, 8 mm", None, 5, 8), ("aligned already", None, 0, 0),
                                              ("5 degrees, 8 mm, 4 mm voxels", coarse, 5, 8)):
            pair, truth = offset_pair(seed, grid, degrees, shift_mm)
            row(name, seed, points, Transform(truth).apply(points), timed(*pair, kind="rigid"))
        truth = np.column_stack([np.diag([1.08, 0.95, 1.0]) @ rotation(3, (1, 1, 1)), [2, 1, -1]])
        pair = stretched_pair(anatomy, truth, seed)
        row("stretched by 8 % and -5 %", seed, points, Transform(truth).apply(points), timed(*pair, kind="affine"))
        pair, _ = bumped_pair(seed, 6.0)
        large = 3 * points
        belongs = large
        for _ in range(30):
            belongs = large - bump(belongs, 6.0)
        row("bump of 6 mm", seed, large, belongs, timed(*pair, kind="deformable"))


def row(name: str, seed: int, points: np.ndarray, belongs: np.ndarray, outcome: tuple[Registered, float]) -> None:
    result, seconds = outcome
    before, after = (np.linalg.norm(where - belongs, axis=1) for where in (points, result.transform.apply(points)))
    print(f"| {name} | {seed} | {result.kept} | {before.mean():.2f} / {before.max():.2f} | {after.mean():.2f} / "
          f"{after.max():.2f} | {result.likeness:.2f} | {seconds:.1f} |", flush=True)


def stretched_pair(anatomy: Anatomy, truth: np.ndarray, seed: int) -> tuple:
    grid = cube()
    moving_DHW = picture(grid, lambda p: second_contrast(anatomy.density(moved_back(truth, p))), 8, seed + 1000)
    return picture(grid, lambda p: first_contrast(anatomy.density(p)), 20, seed), grid, moving_DHW, grid


def unrelated(seeds: int) -> None:
    """A phantom, or noise, against smooth noise: all should be rejected."""
    print("\n| unrelated pair | smooth over, mm | rejected | likeness, largest | s, mean |\n|---|---|---|---|---|")
    grid = cube()
    for name in ("phantom and noise", "noise and noise"):
        for sigma_mm in SMOOTHNESS_MM:
            outcomes = []
            for seed in range(seeds):
                fixed_DHW = (picture(grid, lambda p, seed=seed: first_contrast(Anatomy(seed).density(p)), 20, seed)
                             if name.startswith("phantom") else noise(grid, sigma_mm, seed + 500))
                outcomes.append(timed(fixed_DHW, grid, noise(grid, sigma_mm, seed + 7), grid, kind="rigid"))
            rejected = sum(result.transform.is_identity and bool(result.reason) for result, _ in outcomes)
            largest = max(result.likeness for result, _ in outcomes)
            print(f"| {name} | {sigma_mm:.0f} | {rejected} of {seeds} | {largest:.2f} | "
                  f"{np.mean([seconds for _, seconds in outcomes]):.1f} |", flush=True)


def noise(grid: Geometry, sigma_mm: float, seed: int) -> np.ndarray:
    return scipy.ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=grid.shape), sigma_mm).astype(np.float32)


def real(folder: Path, cases: list[str], kind: str) -> None:
    """CT and MR of one patient, and the CT with the MR of the next patient in the list."""
    print("| pair | kept | stages (shared information) | points move, mean / max mm | likeness | s |")
    print("|---|---|---|---|---|---|")
    for index, case in enumerate(cases):
        other = cases[(index + 1) % len(cases)]
        for name, moved in ((f"{case}, CT and MR", case), (f"CT of {case}, MR of {other}", other)):
            if moved is not case and len(cases) == 1:
                continue
            fixed, moving = (channel(folder, who, number) for who, number in ((case, 0), (moved, 2)))
            result, seconds = timed(*fixed, *moving, kind=kind)
            stages = "; ".join(f"{stage.kind} {_number(stage.before)} to {_number(stage.after)}"
                               + ("" if stage.accepted else f", not kept: {stage.reason}") for stage in result.stages)
            moves = movement(result.transform, fixed[1], moving[1])
            likeness = "-" if result.likeness is None else f"{result.likeness:.2f}"
            print(f"| {name} | {result.kept} | {stages} | {moves} | {likeness} | {seconds:.1f} |", flush=True)


def channel(folder: Path, case: str, number: int) -> tuple[np.ndarray, Geometry]:
    image_CDHW, geometry = read_image(folder / "imagesTr" / f"{case}_{number:04}.nii.gz")
    return image_CDHW[0], geometry


def movement(transform: Transform, fixed: Geometry, moving: Geometry) -> str:
    """How far the points of the reference that the moving image covers, as the files say, are moved."""
    places = np.random.default_rng(0).uniform(0, 1, (POINTS, 3)) * (np.array(fixed.shape) - 1)
    points = points_of(fixed, places)
    indices = indices_of(moving, points)
    points = points[((indices >= 0) & (indices <= np.array(moving.shape) - 1)).all(axis=1)]
    if not len(points):
        return "no common world"
    moved = np.linalg.norm(transform.apply(points) - points, axis=1)
    return f"{moved.mean():.1f} / {moved.max():.1f}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


if __name__ == "__main__":
    main()
