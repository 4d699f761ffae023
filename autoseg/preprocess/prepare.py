"""Case + plan -> PreparedCase: transpose, crop to non-zero, normalise, resample, index the foreground; in this order.

Normalising comes before resampling: afterwards the non-zero region would no longer fit the image exactly.
"""

import numpy as np
import torch

from autoseg.data.case import Case, PreparedCase
from autoseg.data.crop import bounding_box, nonzero_mask
from autoseg.preprocess.foreground import case_generator, sample_foreground
from autoseg.preprocess.normalize import normalize
from autoseg.preprocess.resample import plan_resize, resample_image, target_shape, target_spacing
from autoseg.preprocess.vote import resample_label
from planners.plan import Configuration, Plan

# Background outside the non-zero region is a label of its own while labels are resampled, as in nnU-Net: at its border
# a thin structure then competes with two backgrounds, each of which weighs less.
_OUTSIDE = -1


def prepare(case: Case, plan: Plan, configuration: Configuration, device: torch.device | str = "cpu") -> PreparedCase:
    """The case as the network of `configuration` sees it. Images are resampled on `device`; the case is unchanged."""
    image_CDHW = case.image_CDHW.transpose(0, *(axis + 1 for axis in plan.transpose))
    label_DHW = None if case.label_DHW is None else case.label_DHW.transpose(plan.transpose)
    from_mm = tuple(float(case.geometry.spacing_mm[axis]) for axis in plan.transpose)

    inside_DHW = nonzero_mask(image_CDHW, case.present_C)
    box = tuple((int(start), int(stop)) for start, stop in bounding_box(inside_DHW))
    window = tuple(slice(*side) for side in box)
    inside_DHW, image_CDHW = inside_DHW[window], image_CDHW[(slice(None), *window)]
    if label_DHW is not None:
        label_DHW = label_DHW[window].astype(np.int16)
        inside_DHW = inside_DHW | (label_DHW != 0)
        label_DHW[~inside_DHW] = _OUTSIDE

    to_mm = target_spacing(configuration, from_mm)
    cropped = image_CDHW.shape[1:]
    shapes = (cropped, target_shape(cropped, from_mm, to_mm))
    rules = configuration.resampling
    image_CDHW = torch.from_numpy(_normalized(image_CDHW, inside_DHW, case.present_C, plan, configuration))
    image_CDHW = resample_image(image_CDHW.to(device), plan_resize(shapes, from_mm, to_mm, rules.order_image, rules))
    foreground, lesions = {}, {}
    if label_DHW is not None:
        resize = plan_resize(shapes, from_mm, to_mm, rules.order_label, rules)
        label_DHW = np.maximum(resample_label(torch.from_numpy(label_DHW), resize).numpy(), 0)
        foreground, lesions = sample_foreground(label_DHW, plan.labels, case_generator(case.name))
    return PreparedCase(name=case.name, image_CDHW=image_CDHW.cpu().numpy(), present_C=case.present_C.copy(),
                        geometry=case.geometry, transpose=plan.transpose, box=box, cropped_shape=cropped,
                        spacing_mm=to_mm, label_DHW=label_DHW, foreground=foreground, lesions=lesions)


def _normalized(image_CDHW: np.ndarray, inside_DHW: np.ndarray, present_C: np.ndarray, plan: Plan,
                configuration: Configuration) -> np.ndarray:
    """Every present channel normalised by its own part; a missing channel is 0 and never read."""
    normalized = np.zeros(image_CDHW.shape, dtype=np.float32)
    for c, part in enumerate(configuration.normalizers):
        if present_C[c]:
            stats = plan.intensities[c] if c < len(plan.intensities) else None
            normalized[c] = normalize(part, image_CDHW[c], inside_DHW, stats)
    return normalized
