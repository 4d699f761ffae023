"""What a predicted mask and the images in it say of a case: volume, shape, intensities. Pure functions of arrays.

Names of intensities and of the shape are those of the Image Biomarker Standardisation Initiative (Zwanenburg et al. 2020,
Radiology 295:328; IBSI reference manual, arXiv:1612.07003), as its tables abbreviate them.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from autoseg.evaluation.mesh import surface_mesh
from autoseg.grids.boxes import extent
from autoseg.grids.components import component_voxels
from autoseg.grids.geometry import Geometry

_FEW_POINTS = 400  # whose distances are all looked at
_FEWEST_VOXELS = 4  # of which moments and higher statistics say something
VOLUME = ("log_volume", "components", "largest_diameter_mm")
SHAPE = ("morph_area_mesh", "morph_sphericity", "morph_pca_elongation", "morph_pca_flatness")
FIRST_ORDER = ("stat_mean", "stat_var", "stat_skew", "stat_kurt", "stat_median", "stat_min", "stat_p10", "stat_p90",
               "stat_max", "stat_iqr", "stat_range", "stat_mad", "stat_rmad", "stat_medad", "stat_cov", "stat_qcod",
               "stat_energy", "stat_rms")


def volume_of(mask_DHW: np.ndarray, geometry: Geometry) -> tuple[float, ...]:
    """`VOLUME` of a mask: log(1 + mL), the number of components, the largest distance of two of its voxels; 0 if empty."""
    sizes = component_voxels(mask_DHW)
    ml = float(sizes.sum()) * geometry.voxel_ml()
    return math.log1p(ml), float(len(sizes)), _diameter(mask_DHW, geometry)


def shape_of(mask_DHW: np.ndarray, geometry: Geometry) -> tuple[float, ...]:
    """`SHAPE` of a mask: the area of its surface (mm^2; in 2D the length of its contour, mm), sphericity
    (36 pi V^2)^(1/3) / A (in 2D 2 sqrt(pi A) / P), and the square roots of the second and third eigenvalue of the
    covariance of its voxels over that of the first (in 2D there is no third). NaN of an empty mask.
    """
    box = extent(mask_DHW)
    if box is None:
        return (math.nan,) * len(SHAPE)
    flat = geometry.dimensions == 2
    cropped, mm = (mask_DHW[box][0], geometry.spacing_mm[1:]) if flat else (mask_DHW[box], geometry.spacing_mm)
    area = float(surface_mesh(cropped, mm).area().sum())
    size = float(cropped.sum()) * math.prod(mm)
    ideal = 2 * math.sqrt(math.pi * size) if flat else (36 * math.pi * size**2) ** (1 / 3)
    sides = _principal(cropped, mm)
    return area, ideal / area, float(sides[1] / sides[0]), float("nan" if flat else sides[2] / sides[0])


def first_order_of(values_X: np.ndarray) -> tuple[float, ...]:
    """`FIRST_ORDER` of the intensities in a mask (IBSI 4.1); NaN of fewer than four voxels."""
    if len(values_X) < _FEWEST_VOXELS:
        return (math.nan,) * len(FIRST_ORDER)
    x = values_X.astype(np.float64)
    mean, std = x.mean(), x.std()
    low, p10, p25, median, p75, p90, high = np.percentile(x, (0, 10, 25, 50, 75, 90, 100))
    robust = x[(x >= p10) & (x <= p90)]
    standard = (x - mean) / std if std > 0 else np.zeros_like(x)
    kurtosis = (standard**4).mean() - 3 if std > 0 else 0.0
    energy = float((x**2).sum())
    features = (mean, std**2, (standard**3).mean(), kurtosis, median, low, p10, p90, high, p75 - p25, high - low,
                np.abs(x - mean).mean(), np.abs(robust - robust.mean()).mean(), np.abs(x - median).mean(),
                _ratio(std, mean), _ratio(p75 - p25, p75 + p25), energy, math.sqrt(energy / len(x)))
    return tuple(map(float, features))


def intensities_of(image_CDHW: np.ndarray, present_C: np.ndarray, absent_CDHW: np.ndarray | None, mask_DHW: np.ndarray,
                   channels: Sequence[str]) -> Mapping[str, float]:
    """The first-order features of each channel in the mask, as `CT stat_mean`; NaN of a channel that the case lacks."""
    features: dict[str, float] = {}
    for k, name in enumerate(channels):
        seen_DHW = mask_DHW if absent_CDHW is None else mask_DHW & ~absent_CDHW[k]
        values_X = image_CDHW[k][seen_DHW] if present_C[k] else np.zeros(0, np.float32)
        features |= {f"{name} {feature}": value
                     for feature, value in zip(FIRST_ORDER, first_order_of(values_X), strict=True)}
    return features


def _ratio(a: float, b: float) -> float:
    return a / b if abs(b) > 1e-12 else math.nan


def _principal(mask_DHW: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """The standard deviations (mm) of the voxels along the principal axes, the largest first; a voxel counts as a box."""
    places_mm = np.argwhere(mask_DHW) * np.asarray(spacing_mm)
    covariance = np.cov(places_mm.T, bias=True) if len(places_mm) > 1 else np.zeros((mask_DHW.ndim,) * 2)
    own = np.diag(np.square(spacing_mm) / 12)  # the variance within a voxel; a single one has a shape, too
    return np.sqrt(np.sort(np.linalg.eigvalsh(covariance + own))[::-1])


def _diameter(mask_DHW: np.ndarray, geometry: Geometry) -> float:
    """The largest distance between the centres of two voxels of the mask (mm); 0 if it is empty."""
    box = extent(mask_DHW)
    if box is None:
        return 0.0
    places_mm = _rim(mask_DHW[box]) * np.asarray(geometry.spacing_mm)
    if len(places_mm) > _FEW_POINTS:
        places_mm = _hull(places_mm)
    squares = np.square(places_mm).sum(1)
    return math.sqrt(max(0.0, float((squares[:, None] + squares - 2 * places_mm @ places_mm.T).max())))


def _rim(mask_DHW: np.ndarray) -> np.ndarray:
    """The first and the last voxel of each row along x: the voxels of the convex hull are among them."""
    rows = mask_DHW.any(2)
    z, y = np.nonzero(rows)
    first, last = mask_DHW.argmax(2)[rows], mask_DHW.shape[2] - 1 - mask_DHW[..., ::-1].argmax(2)[rows]
    return np.concatenate([np.stack([z, y, x], axis=1) for x in (first, last)]).astype(np.float64)


def _hull(places_mm: np.ndarray) -> np.ndarray:
    """The corners of the convex hull; of points in a plane or on a line that of the axes along which they differ."""
    from scipy.spatial import ConvexHull, QhullError

    axes = np.ptp(places_mm, axis=0) > 0
    if axes.sum() < 2:
        return places_mm[[places_mm.sum(1).argmin(), places_mm.sum(1).argmax()]]
    try:
        corners: np.ndarray = places_mm[ConvexHull(places_mm[:, axes]).vertices]
    except QhullError:  # all on one oblique line, or in one oblique plane
        corners = places_mm[ConvexHull(places_mm[:, axes], qhull_options="QJ").vertices]
    return corners
