"""Stain normalisation of histology after Macenko et al. 2009 (doi 10.1109/ISBI.2009.5193250).

Optical densities of a tile that was stained with two dyes lie in a plane through the origin, between the colours of the
two. Both colours are found at the edges of what lies in that plane, and are exchanged for reference colours. The first
stain is haematoxylin, the second eosin.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from autoseg.base.errors import UserError
from planners.schema.base import Frozen

Density = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Colour = tuple[Density, Density, Density]

_FITTED_PIXELS = 1 << 20  # stains are estimated from at most so many pixels, evenly spaced
_CHUNK = 1 << 18  # pixels that are changed at a time
_LEAST_TISSUE = 16  # pixels: fewer show no stain
_STRONGEST = 99.0  # percentile of a stain's amount that is brought to the reference
_LEAST_ANGLE = np.deg2rad(4.0)  # between two stains; haematoxylin and eosin are about 20 degrees apart
_LEAST_AMOUNT = 0.05  # of a stain that is there


class StainOptions(Frozen):
    """The reference stains, and how those of a tile are found.

    `haematoxylin` and `eosin` are optical densities of red, green and blue of one unit of a stain, `strongest` the 99th
    percentiles of their amounts: the reference that is published with the method. `light` is the brightness without
    tissue, in grey levels; `alpha` the percentile of angles, from either end, at which a stain lies. A pixel is tissue
    where its mean optical density is at least `beta`. A tile of which less than the share `tissue` is tissue is blank.
    """

    haematoxylin: Colour = (0.5626, 0.7201, 0.4062)
    eosin: Colour = (0.2159, 0.8012, 0.5581)
    strongest: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = (1.9705, 1.0308)
    light: float = Field(default=240.0, gt=1, le=256)
    alpha: float = Field(default=1.0, ge=0, lt=50)
    beta: float = Field(default=0.15, gt=0, allow_inf_nan=False)
    tissue: float = Field(default=0.01, ge=0, le=1)

    @model_validator(mode="after")
    def _check(self) -> "StainOptions":
        if not any(self.haematoxylin) or not any(self.eosin):
            raise ValueError("the optical densities of a stain are not all 0")
        if _angle(np.array([self.haematoxylin, self.eosin])) < _LEAST_ANGLE:
            raise ValueError("haematoxylin and eosin have nearly the same colour, so that they cannot be separated")
        return self


@dataclass(frozen=True)
class Stains:
    """The stains of a tile: optical density of red, green and blue of one unit, and the 99th percentile of the amounts."""

    densities_SC: np.ndarray
    strongest_S: np.ndarray


def macenko(image_CN: np.ndarray, options: StainOptions) -> tuple[np.ndarray, str]:
    """A tile (3, N) of red, green and blue, 0 to 255, with the reference stains, and an empty text; as float32.

    The tile itself, and why, where it is blank or where its stains cannot be separated. Raises UserError for other values.
    """
    _check_range(image_CN)
    fitted, why = _fitted(image_CN, options)
    if fitted is None:
        return image_CN, why
    amounts_SC = np.linalg.pinv(fitted.densities_SC.T)  # of a pixel's optical density
    reference_CS = np.array([options.haematoxylin, options.eosin]).T * (np.array(options.strongest) / fitted.strongest_S)
    changed_CC = (reference_CS @ amounts_SC).astype(np.float32)
    normalised_CN = np.empty(image_CN.shape, np.float32)
    for chunk in _chunks(image_CN.shape[1]):
        brightness = np.exp(-(changed_CC @ _density(image_CN[:, chunk], options.light)), dtype=np.float32)
        normalised_CN[:, chunk] = np.clip(np.float32(options.light) * brightness - 1, 0, 255)
    return normalised_CN, ""


def fit_stains(image_CN: np.ndarray, options: StainOptions) -> Stains | None:
    """The stains of a tile (3, N) of 0 to 255, haematoxylin first; None where they are not to be seen."""
    return _fitted(image_CN, options)[0]


def tissue_share(image_CN: np.ndarray, options: StainOptions) -> float:
    """The share of the pixels of a tile (3, N) of 0 to 255 that are tissue."""
    n_pixels = int(image_CN.shape[1])
    n_tissue = sum(int(np.count_nonzero(_is_tissue(image_CN[:, chunk], options))) for chunk in _chunks(n_pixels))
    return n_tissue / max(1, n_pixels)


def is_blank(image_CN: np.ndarray, options: StainOptions) -> bool:
    """Whether too little of a tile is tissue for a stain to be seen."""
    share = tissue_share(image_CN, options)
    return share < options.tissue or share * image_CN.shape[1] < _LEAST_TISSUE


def _fitted(image_CN: np.ndarray, options: StainOptions) -> tuple[Stains | None, str]:
    """The stains of a tile, or why they are not known."""
    if is_blank(image_CN, options):
        share = tissue_share(image_CN, options)
        return None, f"the picture is blank ({share:.1%} of it is tissue): its colours are left as they are"
    thinned_CN = image_CN[:, :: max(1, -(-image_CN.shape[1] // _FITTED_PIXELS))]
    density_CN = _density(thinned_CN, options.light).astype(np.float64)
    density_CN = density_CN[:, density_CN.mean(axis=0) >= options.beta]
    if density_CN.shape[1] < _LEAST_TISSUE:
        return None, "too little tissue is spread over the picture: its colours are left as they are"
    densities_SC = _extremes(density_CN, options.alpha)
    if _angle(densities_SC) < _LEAST_ANGLE:
        return None, "the picture shows one stain alone: its colours are left as they are"
    strongest_S = np.percentile(np.linalg.pinv(densities_SC.T) @ density_CN, _STRONGEST, axis=1)
    if (strongest_S < _LEAST_AMOUNT).any():
        return None, "one of the two stains is too weak in the picture: its colours are left as they are"
    return Stains(densities_SC, strongest_S), ""


def _extremes(density_CN: np.ndarray, alpha: float) -> np.ndarray:
    """The colours (2, 3) at both edges of the plane of optical densities, of unit length, haematoxylin first.

    Densities are positive, so that all are within 90 degrees of the first axis once its sum is positive: an angle then
    belongs to one direction, whatever signs the decomposition chose. Haematoxylin is the stain that takes more of the red
    light, relative to what it takes in all.
    """
    _, axes_CC = np.linalg.eigh(density_CN @ density_CN.T)
    first_C, second_C = axes_CC[:, 2], axes_CC[:, 1]
    first_C = first_C if first_C.sum() > 0 else -first_C
    angles_N = np.arctan2(second_C @ density_CN, first_C @ density_CN)
    edges = np.percentile(angles_N, (alpha, 100 - alpha))
    densities_SC = np.maximum(np.cos(edges)[:, None] * first_C + np.sin(edges)[:, None] * second_C, 0)
    densities_SC /= np.linalg.norm(densities_SC, axis=1, keepdims=True)
    ordered_SC: np.ndarray = densities_SC if densities_SC[0, 0] >= densities_SC[1, 0] else densities_SC[::-1]
    return ordered_SC


def _angle(densities_SC: np.ndarray) -> float:
    """The angle between two colours, in radians."""
    first, second = densities_SC / np.linalg.norm(densities_SC, axis=1, keepdims=True)
    return float(np.arccos(np.clip(first @ second, -1, 1)))


def _density(image_CN: np.ndarray, light: float) -> np.ndarray:
    """Optical densities, float32; one grey level is added so that black has one, too."""
    density_CN: np.ndarray = -np.log((image_CN.astype(np.float32, copy=False) + np.float32(1)) / np.float32(light))
    return density_CN


def _is_tissue(image_CN: np.ndarray, options: StainOptions) -> np.ndarray:
    is_tissue_N: np.ndarray = _density(image_CN, options.light).mean(axis=0) >= options.beta
    return is_tissue_N


def _chunks(n_pixels: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, n_pixels, _CHUNK))


def _check_range(image_CN: np.ndarray) -> None:
    if not image_CN.size:
        return
    low, high = float(image_CN.min()), float(image_CN.max())
    if low < 0 or high > 255:
        raise UserError("the picture does not have 8 bits of each colour, which stain normalisation needs",
                        found=f"values {low:g} to {high:g}", expected="0 to 255",
                        do="save it with 8 bits of each colour, or take the key 'preprocess' out of dataset.json")
