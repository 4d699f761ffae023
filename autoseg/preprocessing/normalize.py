"""Normalisers: what turns an image's own unit into numbers near one. Each leaves its input unchanged."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from autoseg.base.errors import UserError
from autoseg.preprocessing.store import STEP, in_cache
from planners.registry import Registry
from planners.schema.base import Frozen, Part
from planners.schema.fingerprint import IntensityStats

# Smallest divisor: a constant channel becomes zero instead of infinite.
_SMALLEST = 1e-8


# What is stored of an image is rounded to multiples of STEP where its unit is known: that of these normalisers, whose values
# lie near one. Half of the bytes, and a quarter of the difference that is promised at most (docs/decisions/0015).
_KNOWN_UNIT = ("ct", "zscore", "zscore_masked", "rescale01", "rgb")


class Normalizer(Protocol):
    """`inside_DHW` is True where the case has data: the non-zero region and every labelled voxel.

    Each voxel is changed by itself, whatever is counted over all of them: of a channel that does not cover the whole case
    a normaliser gets the voxels that it covers, as one row (1, 1, N).
    """

    def __call__(self, image_DHW: np.ndarray, inside_DHW: np.ndarray, stats: IntensityStats | None,
                 options: Frozen) -> np.ndarray: ...


NORMALIZERS: Registry[Normalizer] = Registry("normalizer")


def normalize(part: Part, image_DHW: np.ndarray, inside_DHW: np.ndarray, stats: IntensityStats | None = None,
              absent_DHW: np.ndarray | None = None) -> np.ndarray:
    """One channel normalised by the part that the plan chose, as a new float32 array. `stats` are the dataset's.

    Voxels that are absent (True in `absent_DHW`; none: nowhere) are not read and become 0.
    """
    options = NORMALIZERS.options(part.name, part.options)
    if absent_DHW is None or not absent_DHW.any():
        return NORMALIZERS.get(part.name)(image_DHW, inside_DHW, stats, options)
    normalized_DHW = np.zeros(image_DHW.shape, dtype=np.float32)
    seen_DHW = ~absent_DHW
    if seen_DHW.any():
        row, inside_row = image_DHW[seen_DHW][None, None], inside_DHW[seen_DHW][None, None]
        normalized_DHW[seen_DHW] = NORMALIZERS.get(part.name)(row, inside_row, stats, options)[0, 0]
    return normalized_DHW


def round_to_step(image_CDHW: np.ndarray, parts: Sequence[Part]) -> None:
    """Round, in place, each channel that a part of a known unit normalised to multiples of STEP; others stay as they are."""
    for channel_DHW, part in zip(image_CDHW, parts, strict=True):
        if part.name in _KNOWN_UNIT:
            for image_dHW in in_cache(channel_DHW[None]):  # of the three operations two are exact
                image_dHW /= np.float32(STEP)
                np.rint(image_dHW, out=image_dHW)
                image_dHW *= np.float32(STEP)


@NORMALIZERS.register("ct")
def ct(image_DHW: np.ndarray, inside_DHW: np.ndarray, stats: IntensityStats | None, options: Frozen) -> np.ndarray:
    """Clip to the 0.5 and 99.5 percentile of the dataset's foreground, then z-score with its mean and deviation.

    Absolute units mean the same in every case, so the dataset's statistics serve all.
    """
    if stats is None:
        raise UserError("the plan has no intensity statistics, which the normalizer 'ct' needs",
                        do="run autoseg_plan_and_preprocess again, or choose 'zscore'")
    image = np.clip(image_DHW, stats.percentile_00_5, stats.percentile_99_5).astype(np.float32, copy=False)
    image -= np.float32(stats.mean)  # in place: clipping has made a copy
    image /= np.float32(max(stats.std, _SMALLEST))
    return image


@NORMALIZERS.register("zscore")
def zscore(image_DHW: np.ndarray, inside_DHW: np.ndarray, stats: IntensityStats | None, options: Frozen) -> np.ndarray:
    """Mean 0 and deviation 1 over the whole cropped image."""
    mean, std = _moments(image_DHW)
    image = image_DHW.astype(np.float32, copy=False) - mean
    image /= std
    return image


@NORMALIZERS.register("zscore_masked")
def zscore_masked(image_DHW: np.ndarray, inside_DHW: np.ndarray, stats: IntensityStats | None,
                  options: Frozen) -> np.ndarray:
    """Mean 0 and deviation 1 over the inside; the outside keeps its values, which are 0 in a skull-stripped brain."""
    image = image_DHW.astype(np.float32)
    inside = image[inside_DHW]
    if inside.size:
        mean, std = _moments(inside)
        image[inside_DHW] = (inside - mean) / std
    return image


@NORMALIZERS.register("rescale01")
def rescale01(image_DHW: np.ndarray, inside_DHW: np.ndarray, stats: IntensityStats | None,
              options: Frozen) -> np.ndarray:
    """The smallest value becomes 0, the largest 1."""
    image = image_DHW.astype(np.float32, copy=False) - np.float32(image_DHW.min())
    image /= np.float32(max(float(image.max()), _SMALLEST))
    return image


@NORMALIZERS.register("rgb")
def rgb(image_DHW: np.ndarray, inside_DHW: np.ndarray, stats: IntensityStats | None, options: Frozen) -> np.ndarray:
    """0 to 255 becomes 0 to 1."""
    low, high = float(image_DHW.min()), float(image_DHW.max())
    if low < 0 or high > 255:
        raise UserError("the channel is not an 8-bit colour", found=f"values {low:g} to {high:g}", expected="0 to 255",
                        do="name the channel otherwise in dataset.json, so that it is normalised by z-score")
    return image_DHW.astype(np.float32, copy=False) / np.float32(255)


@NORMALIZERS.register("none")
def none(image_DHW: np.ndarray, inside_DHW: np.ndarray, stats: IntensityStats | None, options: Frozen) -> np.ndarray:
    """The image as it is."""
    return image_DHW.astype(np.float32)


def _moments(values: np.ndarray) -> tuple[np.float32, np.float32]:
    """Mean and deviation, summed in float64: a sum of 1e8 float32 voxels would lose digits."""
    mean = values.mean(dtype=np.float64)
    return np.float32(mean), np.float32(max(values.std(dtype=np.float64), _SMALLEST))
