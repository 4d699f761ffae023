"""Normalisers: what turns an image's own unit into numbers near one. Each leaves its input unchanged.

A normaliser is a function of arrays, made by `factory(options, NormalizerContext)`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from autoseg.base.errors import UserError
from autoseg.preprocessing.store import STEP, in_cache
from planners.registry import NoOptions, Registry
from planners.schema.base import Frozen, Part
from planners.schema.fingerprint import IntensityStats

# Smallest divisor: a constant channel becomes zero instead of infinite.
_SMALLEST = 1e-8


class Normalizer(Protocol):
    """`inside_DHW` is True where the case has data: the non-zero region and every labelled voxel.

    Each voxel is changed by itself, whatever is counted over all of them: of a channel that does not cover the whole case
    a normaliser gets the voxels that it covers, as one row (1, 1, N).
    """

    def __call__(self, image_DHW: np.ndarray, inside_DHW: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class NormalizerContext:
    """What a normaliser is made for: the statistics of its channel over the dataset, None where they are not known."""

    stats: IntensityStats | None


class NormalizerTraits(Frozen):
    """`near_one`: values lie near one, so that what is stored may be rounded to multiples of STEP: half of the bytes, and
    a quarter of the difference that is promised at most (docs/decisions/0015). Others are resampled and stored as wide.
    `zero_outside`: what is 0 outside the patient stays 0, so that augmentation leaves it so.
    """

    near_one: bool = False
    zero_outside: bool = False


NormalizerFactory = Callable[[Any, NormalizerContext], Normalizer]
NORMALIZERS: Registry[NormalizerFactory, NormalizerTraits] = Registry("normalizer", NormalizerTraits)


def normalize(part: Part, image_DHW: np.ndarray, inside_DHW: np.ndarray, stats: IntensityStats | None = None,
              absent_DHW: np.ndarray | None = None) -> np.ndarray:
    """One channel normalised by the part that the plan chose, as a new float32 array. `stats` are the dataset's.

    Voxels that are absent (True in `absent_DHW`; none: nowhere) are not read and become 0.
    """
    normalizer = NORMALIZERS.make(part, NormalizerContext(stats))
    if absent_DHW is None or not absent_DHW.any():
        return normalizer(image_DHW, inside_DHW)
    normalized_DHW = np.zeros(image_DHW.shape, dtype=np.float32)
    seen_DHW = ~absent_DHW
    if seen_DHW.any():
        row, inside_row = image_DHW[seen_DHW][None, None], inside_DHW[seen_DHW][None, None]
        normalized_DHW[seen_DHW] = normalizer(row, inside_row)[0, 0]
    return normalized_DHW


def zero_outside_channels(parts: Sequence[Part]) -> tuple[int, ...]:
    """The channels whose normaliser leaves 0 what is 0 outside the patient."""
    return tuple(number for number, part in enumerate(parts) if NORMALIZERS.traits(part.name).zero_outside)


def round_to_step(image_CDHW: np.ndarray, parts: Sequence[Part]) -> None:
    """Round, in place, each channel whose normaliser leaves values near one to multiples of STEP; others stay."""
    for channel_DHW, part in zip(image_CDHW, parts, strict=True):
        if NORMALIZERS.traits(part.name).near_one:
            for image_dHW in in_cache(channel_DHW[None]):  # of the three operations two are exact
                image_dHW /= np.float32(STEP)
                np.rint(image_dHW, out=image_dHW)
                image_dHW *= np.float32(STEP)


def without_options(normalizer: Normalizer) -> NormalizerFactory:
    """The factory of a normaliser that has no options and needs no statistics of the dataset."""
    return lambda options, context: normalizer


@NORMALIZERS.register("ct", near_one=True)
def ct(options: NoOptions, context: NormalizerContext) -> Normalizer:
    """Clip to the 0.5 and 99.5 percentile of the dataset's foreground, then z-score with its mean and deviation.

    Absolute units mean the same in every case, so the dataset's statistics serve all.
    """
    stats = context.stats
    if stats is None:
        raise UserError("the plan has no intensity statistics, which the normalizer 'ct' needs",
                        do="run autoseg_plan_and_preprocess again, or choose 'zscore'")
    low, high = stats.percentile_00_5, stats.percentile_99_5
    mean, std = np.float32(stats.mean), np.float32(max(stats.std, _SMALLEST))

    def clipped_zscore(image_DHW: np.ndarray, inside_DHW: np.ndarray) -> np.ndarray:
        image = np.clip(image_DHW, low, high).astype(np.float32, copy=False)
        image -= mean  # in place: clipping has made a copy
        image /= std
        return image

    return clipped_zscore


@NORMALIZERS.register("zscore", near_one=True)
@without_options
def zscore(image_DHW: np.ndarray, inside_DHW: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1 over the whole cropped image."""
    mean, std = _moments(image_DHW)
    image = image_DHW.astype(np.float32, copy=False) - mean
    image /= std
    return image


@NORMALIZERS.register("zscore_masked", near_one=True, zero_outside=True)
@without_options
def zscore_masked(image_DHW: np.ndarray, inside_DHW: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1 over the inside; the outside keeps its values, which are 0 in a skull-stripped brain."""
    image = image_DHW.astype(np.float32)
    inside = image[inside_DHW]
    if inside.size:
        mean, std = _moments(inside)
        image[inside_DHW] = (inside - mean) / std
    return image


@NORMALIZERS.register("rescale01", near_one=True)
@without_options
def rescale01(image_DHW: np.ndarray, inside_DHW: np.ndarray) -> np.ndarray:
    """The smallest value becomes 0, the largest 1."""
    image = image_DHW.astype(np.float32, copy=False) - np.float32(image_DHW.min())
    image /= np.float32(max(float(image.max()), _SMALLEST))
    return image


@NORMALIZERS.register("rgb", near_one=True)
@without_options
def rgb(image_DHW: np.ndarray, inside_DHW: np.ndarray) -> np.ndarray:
    """0 to 255 becomes 0 to 1."""
    low, high = float(image_DHW.min()), float(image_DHW.max())
    if low < 0 or high > 255:
        raise UserError("the channel is not an 8-bit colour", found=f"values {low:g} to {high:g}", expected="0 to 255",
                        do="name the channel otherwise in dataset.json, so that it is normalised by z-score")
    return image_DHW.astype(np.float32, copy=False) / np.float32(255)


@NORMALIZERS.register("none")
@without_options
def none(image_DHW: np.ndarray, inside_DHW: np.ndarray) -> np.ndarray:
    """The image as it is."""
    return image_DHW.astype(np.float32)


def _moments(values: np.ndarray) -> tuple[np.float32, np.float32]:
    """Mean and deviation, summed in float64: a sum of 1e8 float32 voxels would lose digits."""
    mean = values.mean(dtype=np.float64)
    return np.float32(mean), np.float32(max(values.std(dtype=np.float64), _SMALLEST))
