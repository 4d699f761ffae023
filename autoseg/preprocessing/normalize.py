"""Normalisers: what turns an image's own unit into numbers near one. Each leaves its input unchanged.

A normaliser is a function of arrays, made by `factory(options, NormalizerContext)`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field, field_validator

from autoseg.base.errors import UserError
from autoseg.datasets.spikes import Bulk, bulk_of
from autoseg.preprocessing.store import STEP, in_cache
from planners.registry import NoOptions, Registry
from planners.schema.base import Frozen, Part
from planners.schema.fingerprint import IntensityStats

# A deviation below this share of the mean is the rounding of float64: the channel is constant.
_CONSTANT = 1e-12
# Rescaling takes the bulk of an image for its range where the range is more times as wide: fewer than 32 of the steps in
# which it is stored would be left to the bulk.
_WIDEST_RANGE = 64.0
# Width of 99 % of a normal distribution, in standard deviations.
DEVIATIONS_IN_99_PERCENT = 5.15


class Normalizer(Protocol):
    """`inside_DHW` is True where the case has data: the non-zero region and every labelled voxel.

    Each voxel is changed by itself, whatever is counted over all of them: of a channel that does not cover the whole case
    a normaliser gets the voxels that it covers, as one row (1, 1, N).
    """

    def __call__(self, image_DHW: np.ndarray, inside_DHW: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class NormalizerContext:
    """What a normaliser is made for: the statistics of its channel over the dataset, None where they are not known, and the
    modality of the case in a channel that has several, else empty.
    """

    stats: IntensityStats | None
    modality: str = ""


class NormalizerTraits(Frozen):
    """`near_one`: values lie near one, so that what is stored may be rounded to multiples of STEP: half of the bytes, and
    a quarter of the difference that is promised at most (docs/decisions/0015). Others are resampled and stored as wide.
    `zero_outside`: what is 0 outside the patient stays 0, so that augmentation leaves it so. `absolute_unit`: equal values
    mean the same in all cases, as Hounsfield units do. `chooses`: its options `parts` are normalisers, of which it takes one
    for each case.
    """

    near_one: bool = False
    zero_outside: bool = False
    absolute_unit: bool = False
    chooses: bool = False


NormalizerFactory = Callable[[Any, NormalizerContext], Normalizer]
NORMALIZERS: Registry[NormalizerFactory, NormalizerTraits] = Registry("normalizer", NormalizerTraits)


def normalize(part: Part, image_DHW: np.ndarray, inside_DHW: np.ndarray, stats: IntensityStats | None = None,
              absent_DHW: np.ndarray | None = None, *, modality: str = "") -> np.ndarray:
    """One channel normalised by the part that the plan chose, as a new float32 array. `stats` are the dataset's; `modality`
    is the case's, where the channel has several.

    Voxels that are absent (True in `absent_DHW`; none: nowhere) are not read and become 0.
    """
    normalizer = NORMALIZERS.make(part, NormalizerContext(stats, modality))
    if absent_DHW is None or not absent_DHW.any():
        return normalizer(image_DHW, inside_DHW)
    normalized_DHW = np.zeros(image_DHW.shape, dtype=np.float32)
    seen_DHW = ~absent_DHW
    if seen_DHW.any():
        row, inside_row = image_DHW[seen_DHW][None, None], inside_DHW[seen_DHW][None, None]
        normalized_DHW[seen_DHW] = normalizer(row, inside_row)[0, 0]
    return normalized_DHW


def traits_of(part: Part) -> NormalizerTraits:
    """The traits of a part. Of one that chooses: what all its choices promise, and an absolute unit where one has it."""
    traits = NORMALIZERS.traits(part.name)
    if not traits.chooses:
        return traits
    choices = [traits_of(Part.model_validate(choice)) for choice in part.options.get("parts", {}).values()]
    return NormalizerTraits(near_one=all(choice.near_one for choice in choices), chooses=True,
                            zero_outside=bool(choices) and all(choice.zero_outside for choice in choices),
                            absolute_unit=any(choice.absolute_unit for choice in choices))


def zero_outside_channels(parts: Sequence[Part]) -> tuple[int, ...]:
    """The channels whose normaliser leaves 0 what is 0 outside the patient."""
    return tuple(number for number, part in enumerate(parts) if traits_of(part).zero_outside)


def absolute_unit_channels(parts: Sequence[Part]) -> tuple[int, ...]:
    """The channels whose normalised values mean the same in all cases, or in the cases of one of their modalities."""
    return tuple(number for number, part in enumerate(parts) if traits_of(part).absolute_unit)


def round_to_step(image_CDHW: np.ndarray, parts: Sequence[Part]) -> None:
    """Round, in place, each channel whose normaliser leaves values near one to multiples of STEP; others stay."""
    for channel_DHW, part in zip(image_CDHW, parts, strict=True):
        if traits_of(part).near_one:
            for image_dHW in in_cache(channel_DHW[None]):  # of the three operations two are exact
                image_dHW /= np.float32(STEP)
                np.rint(image_dHW, out=image_dHW)
                image_dHW *= np.float32(STEP)


def without_options(normalizer: Normalizer) -> NormalizerFactory:
    """The factory of a normaliser that has no options and needs no statistics of the dataset."""
    def factory(options: NoOptions, context: NormalizerContext) -> Normalizer:
        return normalizer

    factory.__module__ = normalizer.__module__  # which says what a plan needs: a plug-in's normaliser is of the plug-in
    return factory


class Spikes(Frozen):
    """What becomes of intensity spikes (docs/decisions/0029): they are `bounded`, or `kept` like all other values, as in
    nnU-Net, whose models have learnt from such images.
    """

    spikes: Literal["bounded", "kept"] = "bounded"


@NORMALIZERS.register("ct", Spikes, near_one=True, absolute_unit=True)
def ct(options: Spikes, context: NormalizerContext) -> Normalizer:
    """Clip to the 0.5 and 99.5 percentile of the dataset's foreground, then z-score with its mean and deviation.

    Absolute units mean the same in every case, so the dataset's statistics serve all. Where spikes decide the mean and the
    deviation, the median and the percentiles take their place. A foreground of one value gives no scale: z-score per case.
    """
    stats = context.stats
    if stats is None:
        raise UserError("the plan has no intensity statistics, which the normalizer 'ct' needs",
                        do="run autoseg_plan_and_preprocess again, or choose 'zscore'")
    low, high = stats.percentile_00_5, stats.percentile_99_5
    bounded = options.spikes == "bounded"
    if high <= low and bounded:
        return zscore_of_case
    mean, std = np.float32(stats.mean), np.float32(stats.std) or np.float32(1)
    if bounded and Bulk(low, high).is_hidden_by(stats.std):
        mean, std = np.float32(stats.median), np.float32((high - low) / DEVIATIONS_IN_99_PERCENT)

    def clipped_zscore(image_DHW: np.ndarray, inside_DHW: np.ndarray) -> np.ndarray:
        image = np.clip(image_DHW, low, high).astype(np.float32, copy=False)
        image -= mean  # in place: clipping has made a copy
        image /= std
        return image

    return clipped_zscore


def zscore_of_case(image_DHW: np.ndarray, inside_DHW: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1 over the whole cropped image."""
    return _zscored(image_DHW)


@NORMALIZERS.register("zscore", Spikes, near_one=True)
def zscore(options: Spikes, context: NormalizerContext) -> Normalizer:
    """Mean 0 and deviation 1 over the whole cropped image."""
    if options.spikes == "bounded":
        return zscore_of_case
    return lambda image_DHW, inside_DHW: _standardized(image_DHW)


@NORMALIZERS.register("zscore_masked", Spikes, near_one=True, zero_outside=True)
def zscore_masked(options: Spikes, context: NormalizerContext) -> Normalizer:
    """Mean 0 and deviation 1 over the inside; the outside keeps its values, which are 0 in a skull-stripped brain."""
    zscored = _zscored if options.spikes == "bounded" else _standardized

    def zscore_inside(image_DHW: np.ndarray, inside_DHW: np.ndarray) -> np.ndarray:
        image = image_DHW.astype(np.float32)
        inside = image[inside_DHW]
        if inside.size:
            image[inside_DHW] = zscored(inside)
        return image

    return zscore_inside


@NORMALIZERS.register("rescale01", Spikes, near_one=True)
def rescale01(options: Spikes, context: NormalizerContext) -> Normalizer:
    """The smallest value becomes 0, the largest 1; bounded spikes become 0 or 1."""
    def rescaled(image_DHW: np.ndarray, inside_DHW: np.ndarray) -> np.ndarray:
        low, high = float(image_DHW.min()), float(image_DHW.max())
        bulk = bulk_of(image_DHW) if options.spikes == "bounded" else None
        if bulk is not None and high - low > _WIDEST_RANGE * bulk.width:
            low, high = max(low, bulk.bounds()[0]), min(high, bulk.bounds()[1])
            image_DHW = np.clip(image_DHW, low, high)
        image = image_DHW.astype(np.float32, copy=False) - np.float32(low)
        image /= np.float32(image.max()) or np.float32(1)
        return image

    return rescaled


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


class ByModality(Frozen):
    """`parts` has the normaliser of each modality, `intensities` the statistics of the cases that have it, where they are
    known. Without any part the modality decides nothing: z-score per case.
    """

    parts: dict[str, Part] = Field(default_factory=dict)
    intensities: dict[str, IntensityStats] = Field(default_factory=dict)

    @field_validator("parts")
    @classmethod
    def _are_known(cls, parts: dict[str, Part]) -> dict[str, Part]:
        for part in parts.values():
            try:
                NORMALIZERS.options(part.name, part.options)
            except KeyError as error:
                raise ValueError(error.args[0]) from None
        return parts


@NORMALIZERS.register("by_modality", ByModality, near_one=True, chooses=True)
def by_modality(options: ByModality, context: NormalizerContext) -> Normalizer:
    """A channel that holds several modalities: each case is normalised by that of its own."""
    if not options.parts:
        return zscore_of_case
    part = options.parts.get(context.modality)
    if part is None:
        names = ", ".join(modality.upper() for modality in options.parts)
        raise UserError("the modality of the case is not known to the plan", found=context.modality.upper() or "not said",
                        expected=names, do="say it in the table (docs/how-to/other-modalities.md), or at prediction with "
                                           "--modality where all cases have the same")
    return NORMALIZERS.make(part, NormalizerContext(options.intensities.get(context.modality)))


def _zscored(values: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1, as a new float32 array.

    Where spikes hide the bulk of the values, mean and deviation are those of the values clipped near the bulk. What lies
    beyond the bound of spikes becomes that bound and the logarithm of the excess: order is kept, and no spike outweighs a
    patch.
    """
    mean, std = _moments(values)
    bulk = bulk_of(values)
    if bulk is None or not bulk.is_hidden_by(float(std)):
        return _scaled(values, mean, std)
    mean, std = _moments(np.clip(values, *bulk.bounds(widths=1)))
    low, high = bulk.bounds()
    image = np.clip(values, low, high).astype(np.float32, copy=False)
    image -= mean
    image /= std
    for beyond, sign, bound in ((values < low, -1, low), (values > high, 1, high)):
        excess = np.abs(values[beyond].astype(np.float64) - bound) / float(std)
        image[beyond] += (sign * np.log1p(excess)).astype(np.float32)
    return image


def _standardized(values: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1 of all values alike, as a new float32 array."""
    return _scaled(values, *_moments(values))


def _scaled(values: np.ndarray, mean: np.float32, std: np.float32) -> np.ndarray:
    image = values.astype(np.float32, copy=False) - mean
    image /= std
    return image


def _moments(values: np.ndarray) -> tuple[np.float32, np.float32]:
    """Mean and deviation, summed in float64: a sum of 1e8 float32 voxels would lose digits. A constant has deviation 1."""
    mean, std = float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64))
    return np.float32(mean), (np.float32(std) if std > _CONSTANT * abs(mean) else np.float32(0)) or np.float32(1)
