"""Case + plan -> PreparedCase: transpose, preprocess, crop to non-zero, normalise, resample, index the foreground; in this
order.

Normalising comes before resampling: afterwards the non-zero region would no longer fit the image exactly.
"""

import logging
from typing import TYPE_CHECKING

import numpy as np

from autoseg.datasets.case import Case, PreparedCase
from autoseg.datasets.preprocessors import preprocess
from autoseg.grids.crop import around_labels, bounding_box, nonzero_mask
from autoseg.grids.geometry import Axes, Geometry
from autoseg.grids.label_vote import resample_label
from autoseg.grids.resize import Resize, plan_resize, target_shape, target_spacing
from autoseg.preprocessing.foreground import case_generator, sample_foreground
from autoseg.preprocessing.normalize import normalize
from planners.schema.plan import Configuration, Plan

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

# Background outside the non-zero region is a label of its own while labels are resampled, as in nnU-Net: at its border
# a thin structure then competes with two backgrounds, each of which weighs less.
_OUTSIDE = -1
# Weights of voxels are wrong by some 1e-7: a half stays a half.
_HALF = 0.5 - 1e-5


def prepare(case: Case, plan: Plan, configuration: Configuration, device: "torch.device | str" = "cpu") -> PreparedCase:
    """The case as the network of `configuration` sees it. Images are resampled on `device`; the case is unchanged.

    A case that has its grid already needs no torch, whose import would take longer than preparing a small dataset.
    """
    axes = axes_of(case.geometry, plan)
    image_CDHW = axes.apply(case.image_CDHW)
    absent_CDHW = None if case.absent_CDHW is None else axes.apply(case.absent_CDHW)
    label_DHW = None if case.label_DHW is None else axes.apply(case.label_DHW)
    from_mm = axes.of_each(case.geometry.spacing_mm)

    inside_DHW = nonzero_mask(image_CDHW, case.present_C, absent_CDHW)
    image_CDHW, kept = preprocess(configuration.preprocess, plan.channels, image_CDHW, case.present_C, absent_CDHW)
    if kept:
        logger.warning("%s: %s", case.name, kept)
    box = tuple((int(start), int(stop)) for start, stop in around_labels(bounding_box(inside_DHW), label_DHW, plan.labels))
    window = tuple(slice(*side) for side in box)
    inside_DHW, image_CDHW = inside_DHW[window], image_CDHW[(slice(None), *window)]
    absent_CDHW = None if absent_CDHW is None else absent_CDHW[(slice(None), *window)]
    if label_DHW is not None:
        label_DHW = label_DHW[window].astype(np.int16)
        inside_DHW = inside_DHW | (label_DHW != 0)
        label_DHW[~inside_DHW] = _OUTSIDE

    to_mm = target_spacing(configuration, from_mm)
    cropped = image_CDHW.shape[1:]
    shapes = (cropped, target_shape(cropped, from_mm, to_mm))
    rules = configuration.resampling
    image_CDHW = _normalized(image_CDHW, absent_CDHW, inside_DHW, case, (plan, configuration))
    image_CDHW = _resampled(image_CDHW, plan_resize(shapes, from_mm, to_mm, rules.order_image, rules), device)
    absent_CDHW = _resampled_absence(absent_CDHW, plan_resize(shapes, from_mm, to_mm, 1, rules), device)
    if absent_CDHW is not None:
        image_CDHW = np.where(absent_CDHW, np.float32(0), image_CDHW)
    foreground: dict[str, np.ndarray] = {}
    lesions: dict[str, np.ndarray] = {}
    if label_DHW is not None:
        resize = plan_resize(shapes, from_mm, to_mm, rules.order_label, rules)
        label_DHW = np.maximum(resample_label(label_DHW, resize), 0)
        foreground, lesions = sample_foreground(label_DHW, plan.labels, case_generator(case.name))
    return PreparedCase(name=case.name, image_CDHW=image_CDHW, present_C=case.present_C.copy(),
                        geometry=case.geometry, transpose=axes.order, flipped=axes.flipped, box=box, cropped_shape=cropped,
                        spacing_mm=to_mm, label_DHW=label_DHW, foreground=foreground, lesions=lesions,
                        absent_CDHW=absent_CDHW)


def axes_of(geometry: Geometry, plan: Plan) -> Axes:
    """How the axes of a file become those of the plan: first its orientation, then its transposition."""
    return geometry.axes_to(plan.orientation).then(plan.transpose)


def _normalized(image_CDHW: np.ndarray, absent_CDHW: np.ndarray | None, inside_DHW: np.ndarray, case: Case,
                planned: tuple[Plan, Configuration]) -> np.ndarray:
    """Every present channel normalised by its own part; what is missing or absent is 0 and never read."""
    plan, configuration = planned

    def channel(c: int) -> np.ndarray:
        stats = plan.intensities[c] if c < len(plan.intensities) else None
        absent_DHW = None if absent_CDHW is None else absent_CDHW[c]
        return normalize(configuration.normalizers[c], image_CDHW[c], inside_DHW, stats, absent_DHW,
                         modality=case.modalities[c] if case.modalities else "")

    if len(case.present_C) == 1 and case.present_C[0]:  # the most frequent, of the largest images: no second copy
        return np.ascontiguousarray(channel(0), np.float32)[None]
    normalized = np.zeros(image_CDHW.shape, dtype=np.float32)
    for c in range(len(configuration.normalizers)):
        if case.present_C[c]:
            normalized[c] = channel(c)
    return normalized


def _resampled(image_CDHW: np.ndarray, resize: Resize, device: "torch.device | str") -> np.ndarray:
    if resize.is_identity:
        return image_CDHW
    import torch

    from autoseg.grids.resample import resample_image

    return resample_image(torch.from_numpy(image_CDHW).to(device), resize).cpu().numpy()


def _resampled_absence(absent_CDHW: np.ndarray | None, resize: Resize, device: "torch.device | str") -> np.ndarray | None:
    """Absent voxels of the new grid: those of which absent ones weigh at least a half. None where there is none."""
    if absent_CDHW is None or not absent_CDHW.any():
        return None
    resampled = np.zeros((len(absent_CDHW), *resize.shape_out), dtype=bool)
    for c, absent_DHW in enumerate(absent_CDHW):
        if absent_DHW.any():
            resampled[c] = _resampled(absent_DHW.astype(np.float32)[None], resize, device)[0] > _HALF
    return resampled if resampled.any() else None
