"""What predicting a case costs, by arithmetic: forward FLOPs of all tiles, mirrored copies and folds."""

import math
from collections.abc import Sequence

import numpy as np

from autoseg.grids.geometry import Geometry
from autoseg.prediction.inference_settings import Member
from autoseg.prediction.tiles import tile_starts
from planners.schema.plan import Plan


def prediction_cost(plan: Plan, member: Member, grids: Sequence[Geometry]) -> float:
    """FLOPs of predicting the median of some cases with all folds of a member; a cascade's earlier stage is included.

    The cost of a network is that of its architecture; what a network of a plug-in adds is not known.
    """
    shape = np.median([[grid.shape[axis] for axis in plan.transpose] for grid in grids], axis=0)
    extent_mm = np.median([[grid.shape[axis] * grid.spacing_mm[axis] for axis in plan.transpose] for grid in grids], axis=0)
    return len(member.folds) * _of_a_fold(plan, member.configuration, shape, extent_mm)


def _of_a_fold(plan: Plan, name: str, shape: np.ndarray, extent_mm: np.ndarray) -> float:
    chosen = plan.configurations[name]
    n = chosen.dimensions
    voxels = [max(1, round(mm / spacing)) for mm, spacing in zip(extent_mm[-n:], chosen.spacing_mm, strict=True)]
    tiles = math.prod(len(tile_starts(max(edge, tile), tile)) for edge, tile in zip(voxels, chosen.patch, strict=True))
    slices = round(shape[0]) if n == 2 else 1
    n_inputs = len(plan.channels) + (len(plan.labels.foreground) if chosen.previous else 0)
    flops = chosen.architecture.cost(chosen.patch, n_inputs, plan.labels.n_heads).forward_flops
    before = _of_a_fold(plan, chosen.previous, shape, extent_mm) if chosen.previous else 0.0
    return float(flops) * tiles * slices * 2 ** len(chosen.mirror_axes) + before
