"""How well stains are found and exchanged, over random tiles and random dyes.

    python benchmarks/stain.py [--tiles 200] [--side 256]

Round trip: a tile is built of known dyes and amounts, and normalised to just these dyes; what differs is error. Two
stainings: the same tissue in two pairs of dyes and strengths; the mean difference before and after both were normalised.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that a checkout runs without being installed
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from autoseg.datasets.stain import StainOptions, fit_stains, macenko
from stained_tiles import flat, random_amounts, random_stains, stained


def round_trip(rng: np.random.Generator, side: int) -> tuple[float, float, float]:
    """Mean and 99th percentile of the error [grey levels], and the largest angle [degrees] between true and found dye."""
    stains, amounts = random_stains(rng), random_amounts(rng, side, rng.uniform(0, 0.9))
    tile = flat(stained(amounts, stains))
    tissue = amounts.reshape(2, -1)[:, amounts.sum(axis=0).ravel() > 0.2]
    options = StainOptions(haematoxylin=tuple(stains[0]), eosin=tuple(stains[1]),
                           strongest=tuple(np.percentile(tissue, 99, axis=1)))
    error = np.abs(macenko(tile, options)[0] - tile)
    found = fit_stains(tile, options)
    assert found is not None
    angle = np.rad2deg(np.arccos(np.clip((found.densities_SC * stains).sum(axis=1), -1, 1))).max()
    return float(error.mean()), float(np.percentile(error, 99)), float(angle)


def two_stainings(rng: np.random.Generator, side: int) -> tuple[float, float]:
    """The mean difference [grey levels] of two stainings of one tissue, before and after."""
    amounts = random_amounts(rng, side, rng.uniform(0, 0.9))
    one, other = (flat(stained(amounts * rng.uniform(0.6, 1.4, (2, 1, 1)), random_stains(rng))) for _ in range(2))
    options = StainOptions()
    return float(np.abs(one - other).mean()), float(np.abs(macenko(one, options)[0] - macenko(other, options)[0]).mean())


def shown(name: str, values: np.ndarray) -> str:
    low, middle, high = np.percentile(values, (5, 50, 95))
    return f"{name:44} median {middle:7.2f}   5 to 95 %: {low:.2f} to {high:.2f}   worst {values.max():.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=200)
    parser.add_argument("--side", type=int, default=256)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    trips = np.array([round_trip(rng, options.side) for _ in range(options.tiles)])
    for column, name in enumerate(("round trip, mean error", "round trip, 99th percentile of the error",
                                   "angle between true and found dye")):
        print(shown(name, trips[:, column]))
    pairs = np.array([two_stainings(rng, options.side) for _ in range(options.tiles)])
    print(shown("two stainings, difference before", pairs[:, 0]))
    print(shown("two stainings, difference after", pairs[:, 1]))
    ratios = pairs[:, 0] / pairs[:, 1]
    print(f"the difference falls {np.median(ratios):.1f} times (median); at least 5 times in {np.mean(ratios >= 5):.0%} of "
          f"the pairs; least {ratios.min():.1f}; all pairs together {pairs[:, 0].sum() / pairs[:, 1].sum():.1f}")


if __name__ == "__main__":
    main()
