"""Tiles that were stained with two known dyes."""

import numpy as np

from autoseg.datasets.stain import StainOptions

PUBLISHED = np.array([StainOptions().haematoxylin, StainOptions().eosin])


def random_stains(rng):
    """Unit colours (2, 3) of a haematoxylin and an eosin, at least 12 degrees apart."""
    while True:
        stains = PUBLISHED / np.linalg.norm(PUBLISHED, axis=1, keepdims=True) + rng.normal(0, 0.06, (2, 3))
        stains = np.maximum(stains, 0.05)
        stains /= np.linalg.norm(stains, axis=1, keepdims=True)
        apart = np.rad2deg(np.arccos(stains[0] @ stains[1]))
        if apart > 12 and stains[0, 0] > stains[1, 0] + 0.1:
            return stains


def random_amounts(rng, side=96, background=0.25):
    """Amounts (2, side, side) of both dyes: nuclei, stroma that hardly takes haematoxylin, and glass."""
    kind = rng.choice(3, (side, side), p=(0.4 * (1 - background), 0.6 * (1 - background), background))
    haematoxylin = np.choose(kind, (rng.uniform(0.6, 2.0, kind.shape), rng.exponential(0.04, kind.shape), 0))
    eosin = np.choose(kind, (rng.exponential(0.04, kind.shape), rng.uniform(0.4, 1.4, kind.shape), 0))
    return np.stack([haematoxylin, eosin])


def stained(amounts, stains, light=240.0):
    """The tile (y, x, 3) of whole grey levels that amounts (2, y, x) of dyes of these colours (2, 3) make."""
    density = np.einsum("syx,sc->yxc", amounts, stains)
    return np.clip(np.rint(light * np.exp(-density) - 1), 0, 255).astype(np.uint8)


def flat(tile):
    """A tile (y, x, 3) as channels (3, N)."""
    return np.moveaxis(tile, -1, 0).reshape(3, -1).astype(np.float32)
