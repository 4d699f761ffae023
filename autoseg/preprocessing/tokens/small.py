"""`small`: a fixed encoder that learns nothing and downloads nothing: colour statistics, and moduli of random filters.

Moduli of filters, averaged, are the first order of a scattering transform (Bruna & Mallat 2013); random filters in place of
wavelets are enough for textures (Saxe et al. 2011).
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional

from autoseg.base.errors import UserError
from autoseg.preprocessing.tokens.registry import TILE_ENCODERS, Tile, TileEncoder, TileEncoderContext
from planners.registry import NoOptions

_FILTERS, _KERNEL, _SCALES = 24, 5, 3  # the picture is halved from one scale to the next
_SEED = 2013  # of the filters, which are the same on every machine
_PERCENTILES = (5, 50, 95)
_LEAST_EDGE = _KERNEL * 2 ** (_SCALES - 1)


@TILE_ENCODERS.register("small")
def small(options: NoOptions, context: TileEncoderContext) -> TileEncoder:
    """Features of the optical densities: 18 of the colours, then mean and deviation of 24 moduli at 3 scales."""
    filters = _filters().to(context.device)

    def encode(tiles: Sequence[Tile]) -> np.ndarray:
        return np.stack([_features(tile, filters) for tile in tiles])

    return encode


def _filters() -> torch.Tensor:
    """Filters (F, 3, y, x) of mean 0 in each colour and norm 1."""
    weights = np.random.default_rng(_SEED).standard_normal((_FILTERS, 3, _KERNEL, _KERNEL))
    weights -= weights.mean(axis=(2, 3), keepdims=True)
    weights /= np.sqrt((weights**2).sum(axis=(1, 2, 3), keepdims=True))
    return torch.from_numpy(weights.astype(np.float32))


@torch.inference_mode()
def _features(tile: Tile, filters: torch.Tensor) -> np.ndarray:
    density_CYX = -np.log((tile.image_CDHW[:, 0] + np.float32(1)) / np.float32(256))
    if min(density_CYX.shape[1:]) < _LEAST_EDGE:
        raise UserError("the tile is too small to be encoded", where=tile.name,
                        found=f"{density_CYX.shape[2]} x {density_CYX.shape[1]} pixels",
                        expected=f"{_LEAST_EDGE} or more along each edge", do="cut larger tiles, or remove this one")
    scaled = torch.from_numpy(np.ascontiguousarray(density_CYX))[None].to(filters.device)
    moments = []
    for _ in range(_SCALES):
        modulus_FN = functional.conv2d(scaled, filters).abs()[0].flatten(1)
        moments += [modulus_FN.mean(1), modulus_FN.std(1, correction=0)]
        scaled = functional.avg_pool2d(scaled, 2)
    return np.concatenate([_colours(density_CYX.reshape(3, -1)), torch.cat(moments).cpu().numpy()]).astype(np.float32)


def _colours(density_CN: np.ndarray) -> np.ndarray:
    """Mean, deviation and percentiles of each colour's optical density, and the correlations of the colours."""
    deviation_C = density_CN.std(axis=1)
    standard_CN = (density_CN - density_CN.mean(axis=1, keepdims=True)) / np.maximum(deviation_C, 1e-6)[:, None]
    correlation_CC = standard_CN @ standard_CN.T / density_CN.shape[1]
    return np.concatenate([density_CN.mean(axis=1), deviation_C, np.percentile(density_CN, _PERCENTILES, axis=1).ravel(),
                           correlation_CC[np.triu_indices(3, 1)]])
