"""From a map on the prepared grid back to the file's grid."""

import numpy as np
import torch

from autoseg.datasets.case import PreparedCase
from autoseg.grids.resample import resample_image
from autoseg.grids.resize import plan_resize
from planners.schema.plan import Configuration

_LINEAR = 1


def restored(map_CDHW: torch.Tensor, prepared: PreparedCase, configuration: Configuration) -> np.ndarray:
    """A map (C, z, y, x; float32) on the file's grid, linearly interpolated; 0 outside of the crop."""
    axes, geometry = prepared.axes, prepared.geometry
    resize = plan_resize((prepared.shape, prepared.cropped_shape), prepared.spacing_mm, axes.of_each(geometry.spacing_mm),
                         _LINEAR, configuration.resampling)
    out = np.zeros((len(map_CDHW), *axes.of_each(geometry.shape)), np.float32)
    out[(slice(None), *(slice(*side) for side in prepared.box))] = resample_image(map_CDHW, resize).numpy()
    return np.ascontiguousarray(axes.undo(out))


def scaled(map_CDHW: torch.Tensor) -> torch.Tensor:
    """The map with a maximum of 1; its unit means nothing. 0 everywhere stays so."""
    most = float(map_CDHW.max())
    return map_CDHW / most if most > 0 else map_CDHW
