"""The cost of predicting a case, by arithmetic: forward FLOPs of all tiles, mirrored copies and folds."""

import math
from collections.abc import Sequence

import numpy as np

from autoseg.grids.geometry import Geometry
from autoseg.prediction.inference_settings import Member
from autoseg.prediction.tiles import tile_starts
from autoseg.preprocessing.prepare import axes_of
from planners.schema.plan import Plan


def prediction_cost(plan: Plan, member: Member, grids: Sequence[Geometry]) -> float:
    """FLOPs of predicting a case of median size with all folds of a member; a cascade's earlier stage is included.

    The cost of a network is that of its architecture; what a network of a plug-in adds is not known.
    """
    turned = [(axes_of(grid, plan), grid) for grid in grids]
    shape = np.median([axes.of_each(grid.shape) for axes, grid in turned], axis=0)
    extent_mm = np.median([np.multiply(axes.of_each(grid.shape), axes.of_each(grid.spacing_mm)) for axes, grid in turned],
                          axis=0)
    return len(member.folds) * _fold_cost(plan, member.configuration, shape, extent_mm)


def _fold_cost(plan: Plan, name: str, shape: np.ndarray, extent_mm: np.ndarray) -> float:
    configuration = plan.configurations[name]
    n = configuration.dimensions
    voxels = [max(1, round(mm / spacing)) for mm, spacing in zip(extent_mm[-n:], configuration.spacing_mm, strict=True)]
    tiles = math.prod(len(tile_starts(max(edge, tile), tile))
                      for edge, tile in zip(voxels, configuration.patch, strict=True))
    slices = round(shape[0]) if n == 2 else 1
    n_inputs = len(plan.channels) + (len(plan.labels.foreground) if configuration.previous else 0)
    flops = configuration.architecture.cost(configuration.patch, n_inputs, plan.labels.n_heads).forward_flops
    before = _fold_cost(plan, configuration.previous, shape, extent_mm) if configuration.previous else 0.0
    return float(flops) * tiles * slices * 2 ** len(configuration.mirror_axes) + before
