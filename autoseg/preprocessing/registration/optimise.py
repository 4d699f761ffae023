"""The linear stages of a registration by SimpleITK: mutual information at random samples, over a pyramid of resolutions.

The metric is that of Mattes et al., IEEE TMI 22(1), 2003. The pyramid is made here, because SimpleITK's own shrinks all axes
alike. The optimiser is a quasi-Newton search within bounds. Steps of a set length (regular step) went wrong by tens of mm
where one image covers a part of the other: mutual information alone does not limit them.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import SimpleITK as sitk

from autoseg.formats.sitk import to_itk
from autoseg.grids.transform import Transform
from autoseg.preprocessing.registration.images import Volume, padded

log = logging.getLogger(__name__)

Level = tuple[Volume, Volume]  # the fixed and the moving image at one step of the pyramid

_BINS = 50
_SAMPLED, _LEAST_SAMPLES = 0.01, 20_000  # share of a level's voxels, and how many at least
_ITERATIONS = 40
# Without it the metric gains by whatever pushes samples of air out of view: an affine map stretched by 3 % too much.
_PADDING_MM = 10.0


@contextmanager
def one_thread() -> Iterator[None]:
    """SimpleITK on one thread: sums then have one order, and the same seed gives the same transform on every machine."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)


def linear_step(kind: str, level: Level, start: Transform, *, reach: float, seed: int) -> Transform | None:
    """A `rigid` or `affine` map (before the linear `start`) that maximises mutual information at one level; None where
    the optimiser fails, as it does when the images no longer overlap.

    `reach` bounds each parameter: rotations in radians, shifts as a share of half the field of view.
    """
    fixed, moving = level[0], padded(level[1], _PADDING_MM)
    centre_mm = fixed.corners_N3_mm.mean(axis=0)
    unit_mm = max(np.array(fixed.geometry.shape) * np.array(fixed.geometry.spacing_mm)) / 2
    centred = (_in_units(fixed, centre_mm, unit_mm), _in_units(moving, start.apply(centre_mm[None])[0], unit_mm))
    step = sitk.Euler3DTransform() if kind == "rigid" else sitk.AffineTransform(3)
    method = _method(fixed, max(_SAMPLED, _LEAST_SAMPLES / fixed.image_DHW.size), seed)
    method.SetMovingInitialTransform(_affine(start.matrix[:, :3], np.zeros(3)))
    method.SetOptimizerAsLBFGSB(
        gradientConvergenceTolerance=1e-6, numberOfIterations=_ITERATIONS, maximumNumberOfCorrections=5,
        maximumNumberOfFunctionEvaluations=5 * _ITERATIONS, costFunctionConvergenceFactor=1e7, lowerBound=-reach,
        upperBound=reach + (kind == "affine"))  # one bound for all: an affine map begins with ones on its diagonal
    if not _optimised(method, step, centred):
        return None
    turn = np.array(step.GetMatrix()).reshape(3, 3)
    offset_mm = centre_mm - turn @ centre_mm + unit_mm * np.array(step.TransformPoint((0.0, 0.0, 0.0)))
    linear = start.matrix[:, :3]
    return Transform(np.column_stack([linear @ turn, linear @ offset_mm + start.matrix[:, 3]]))


def _in_units(volume: Volume, centre_mm: np.ndarray, unit_mm: float) -> Volume:
    """The image in a world whose origin is `centre_mm` and whose unit is `unit_mm`.

    A radian and a unit then move voxels alike, which stands in for scales of the parameters: this optimiser has none.
    """
    geometry = volume.geometry
    between, down, across = (step / unit_mm for step in geometry.spacing_mm)
    return replace(volume, geometry=replace(
        geometry, spacing_mm=(between, down, across),
        origin_mm=tuple(((np.array(geometry.origin_mm) - centre_mm) / unit_mm).tolist())))


def _affine(linear: np.ndarray, offset: np.ndarray) -> sitk.AffineTransform:
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(linear.ravel().tolist())
    transform.SetTranslation(offset.tolist())
    return transform


def _method(fixed: Volume, share: float, seed: int) -> sitk.ImageRegistrationMethod:
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.RANDOM)
    method.SetMetricSamplingPercentage(min(1.0, share), seed + 1)  # 0 would be the clock
    # Gradients at the samples: of all voxels they take longer than the optimisation.
    method.MetricUseMovingImageGradientFilterOff()
    method.MetricUseFixedImageGradientFilterOff()
    method.SetInterpolator(sitk.sitkLinear)
    return method


def _optimised(method: sitk.ImageRegistrationMethod, transform: sitk.Transform, level: Level) -> bool:
    """Change a transform in place; False where ITK gives up."""
    method.SetInitialTransform(transform, inPlace=True)
    try:
        method.Execute(*(to_itk(volume.image_DHW, volume.geometry, False) for volume in level))
    except RuntimeError as error:
        log.debug("%s", str(error).strip().splitlines()[-1])
        return False
    return bool(np.isfinite(transform.GetParameters()).all())
