"""Brings an earlier stage's prediction onto the grid of a prepared case."""

from dataclasses import replace

import numpy as np

from autoseg.datasets.case import PreparedCase
from autoseg.grids.label_vote import resample_label
from autoseg.grids.resize import plan_resize
from planners.schema.plan import Configuration


def with_previous(prepared: PreparedCase, label_DHW: np.ndarray, configuration: Configuration) -> PreparedCase:
    """The prepared case with `previous_DHW`, from a label map (z, y, x) on the file's grid."""
    transposed = prepared.axes.apply(np.asarray(label_DHW))
    cropped = transposed[tuple(slice(*side) for side in prepared.box)].astype(np.int16)
    from_mm = prepared.axes.of_each(prepared.geometry.spacing_mm)
    rules = configuration.resampling
    depth, height, width = cropped.shape
    shapes = ((depth, height, width), prepared.shape)
    resize = plan_resize(shapes, from_mm, prepared.spacing_mm, rules.order_label, rules)
    return replace(prepared, previous_DHW=resample_label(cropped, resize))
