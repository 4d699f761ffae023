"""Images that a caller has in memory are what the model was trained on, as far as numbers can tell.

A file says its axes and units, an array says neither. What cannot be meant is refused here; what is unlikely passes.
"""

import math

import numpy as np

from autoseg.base.errors import UserError, listed
from autoseg.formats.in_memory import OpenedImage
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import IntensityStats
from planners.schema.plan import Plan

# Voxels of a model's grid and of an image differ by less in their mean edge. Centimetres are ten, metres a thousand.
_EDGES = 30.0
# An image is this many times as long as it is wide, and with the spacings in the opposite order it would be that much more
# like a cube: its axes are in the opposite order.
_LONG, _LONGER = 6.0, 4.0
# Of the grey values that the training's foreground has, the share that an image covers at least.
_LEAST_RANGE = 0.05
# A PET image whose largest value is this many times that of the training holds activity, not SUV.
_ACTIVITY = 100.0
# Images of so few values that are all labels are masks.
_VALUES_OF_A_MASK = 8


def check_grid(image: OpenedImage, plan: Plan, where: str) -> None:
    """Raises UserError where the spacing is in another unit or in another order than the array."""
    geometry = image.geometry
    edges = geometry.spacing_mm[3 - geometry.dimensions:]
    for configuration in plan.configurations.values():
        known = configuration.spacing_mm[-geometry.dimensions:]
        ratio = _mean(edges) / _mean(known) if len(known) == len(edges) else 1.0
        if not 1 / _EDGES < ratio < _EDGES:
            raise UserError("the spacing is in another unit than millimetres", where=where,
                            found=f"spacing (z, y, x) {edges}", expected=f"such as {tuple(known)} mm, as in the training")
    if image.is_zyx or geometry.dimensions == 2:
        return
    extent, turned = (_stretch(geometry.shape, spacing) for spacing in (geometry.spacing_mm, geometry.spacing_mm[::-1]))
    if extent > _LONG and extent > _LONGER * turned:
        sides = " x ".join(f"{n * mm:.0f}" for n, mm in zip(geometry.shape, geometry.spacing_mm, strict=True))
        raise UserError("the axes of the array and of the spacing seem to be in opposite order", where=where,
                        found=f"shape {geometry.shape} and spacing {geometry.spacing_mm}: {sides} mm",
                        expected="both as z, y, x",
                        do="transpose the array, or turn the spacing; or say is_zyx=True of the Volume if this is meant")


def check_voxels(image_DHW: np.ndarray, channel: ChannelSpec, stats: IntensityStats | None, plan: Plan, where: str) -> None:
    """Raises UserError where the voxels (z, y, x) are not finite, say nothing, are a mask, or are in another unit."""
    low, high = float(image_DHW.min()), float(image_DHW.max())
    if math.isfinite(low) and math.isfinite(high) and max(-low, high) > float(np.finfo(np.float32).max):
        raise UserError("the image holds numbers that are too large", where=where, found=f"{low:g} to {high:g}",
                        expected=f"below {np.finfo(np.float32).max:g}", do="see whether these voxels mean anything")
    if not (math.isfinite(low) and math.isfinite(high)):
        count = image_DHW.size - np.count_nonzero(np.isfinite(image_DHW))
        raise UserError("the image holds NaN or infinity", where=where, found=f"{count} such voxels",
                        expected="finite numbers", do="replace these voxels by a value that means something")
    if channel.modality in ("none", "rgb", "rescale01"):  # may be masks, or pictures
        return
    if low == high:
        raise UserError("all voxels of the image are alike", where=where, found=f"{low:g}", expected="an image")
    if low >= 0 and high <= max(plan.labels.values) and _is_mask(image_DHW):
        raise UserError("the image holds nothing but values of labels", where=where,
                        found=listed(np.unique(image_DHW).tolist()), expected="grey values",
                        do="give the image, not its mask")
    if stats is None:
        return
    usual = f"{stats.percentile_00_5:g} to {stats.percentile_99_5:g} within the structures, as in the training"
    if channel.modality in ("ct", "pet") and high - low < _LEAST_RANGE * (stats.percentile_99_5 - stats.percentile_00_5):
        raise UserError("the grey values are in another unit", where=where, found=f"{low:g} to {high:g}", expected=usual,
                        do="give Hounsfield units" if channel.modality == "ct" else "give SUV, and do not normalise it")
    if channel.modality == "pet" and high > _ACTIVITY * max(stats.max, 1.0):
        raise UserError("the grey values are in another unit", where=where, found=f"{low:g} to {high:g}", expected=usual,
                        do="give SUV, not activity (Bq/mL)")


def _is_mask(image_DHW: np.ndarray) -> bool:
    few = np.unique(image_DHW[::max(1, len(image_DHW) // 8)])
    if len(few) > _VALUES_OF_A_MASK:
        return False
    values = np.unique(image_DHW)
    return len(values) <= _VALUES_OF_A_MASK and bool((values == np.round(values)).all())


def _mean(edges: tuple[float, ...]) -> float:
    return math.prod(edges) ** (1 / len(edges))


def _stretch(shape: tuple[int, ...], spacing: tuple[float, ...]) -> float:
    sides = [n * mm for n, mm in zip(shape, spacing, strict=True)]
    return max(sides) / min(sides)
