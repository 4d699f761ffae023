"""From logits on the prepared grid back to the file's grid: resampled, decided, uncropped and transposed back.

Memory does not grow with classes times the file's grid. Linear interpolation cannot change a decision on which all
samples of a voxel agree, so logits are interpolated only at the borders between classes; where whole logits are needed
(probabilities, other spline orders) they are resampled slab by slab and reduced at once.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from autoseg.datasets.case import PreparedCase
from autoseg.grids.geometry import triple
from autoseg.grids.resample import resample_rows, value_limits
from autoseg.grids.resize import Resize, plan_resize
from autoseg.grids.vote import corners, grid_taps, in_memory, resample_decisions
from autoseg.prediction.decision import decide_index, label_values
from planners.schema.plan import Configuration, Plan

Window = tuple[slice, slice, slice]

# Resampled logits that are held at a time.
_SLAB_BYTES = 2**28


@torch.inference_mode()
def restore_label(logits_KDHW: torch.Tensor, prepared: PreparedCase, plan: Plan,
                  configuration: Configuration) -> np.ndarray:
    """The label map (z, y, x) in the file's own grid, as uint8, or int16 where a value exceeds 255.

    `logits_KDHW` lie on the grid of `prepared.image_CDHW`, on any device. Plain labels take the value of the largest
    logit. Regions with a positive logit (probability above one half) are painted over each other in declared order.
    Outside of the crop is background.
    """
    resize = _resize_back(logits_KDHW, prepared, plan, configuration)
    values = label_values(plan.labels)
    has_regions = plan.labels.has_regions
    out = np.zeros(_transposed_shape(prepared), dtype=values.dtype)
    crop = out[_window(prepared)]
    if resize.is_identity or max(resize.orders) <= 1:
        slabs = _decided_slabs(logits_KDHW, resize, has_regions)
    else:
        slabs = ((start, stop, decide_index(rows, has_regions)) for start, stop, rows in _logit_slabs(logits_KDHW, resize))
    for start, stop, winner_DHW in slabs:
        crop[start:stop] = values[winner_DHW.cpu().numpy()]
    return np.ascontiguousarray(prepared.axes.undo(out))


def restore_probabilities(logits_KDHW: torch.Tensor, prepared: PreparedCase, plan: Plan, configuration: Configuration,
                          dtype: np.dtype | type = np.float16) -> np.ndarray:
    """The probability of each head (K, z, y, x) in the file's own grid: softmax over labels, sigmoid of each region.

    Outside of the crop background is certain.
    """
    out_KDHW = np.zeros((len(logits_KDHW), *prepared.geometry.shape), dtype=dtype)
    for window, slab in probability_slabs(logits_KDHW, prepared, plan, configuration):
        out_KDHW[(slice(None), *window)] = slab
    if not plan.labels.has_regions:
        make_certain_outside(out_KDHW[0], prepared)
    return out_KDHW


@torch.inference_mode()
def probability_slabs(logits_KDHW: torch.Tensor, prepared: PreparedCase, plan: Plan, configuration: Configuration
                      ) -> Iterator[tuple[Window, np.ndarray]]:
    """The probabilities within the crop, a slab at a time: where it lies in the file's grid, and (K, d, h, w) float32."""
    resize = _resize_back(logits_KDHW, prepared, plan, configuration)
    z, y, x = _window(prepared)
    for start, stop, logits in _logit_slabs(logits_KDHW, resize):
        window = (slice(z.start + start, z.start + stop), y, x)
        probabilities = logits.sigmoid_() if plan.labels.has_regions else logits.softmax(0)
        yield (prepared.axes.undo_window(window, _transposed_shape(prepared)),
               prepared.axes.undo(probabilities.cpu().numpy()))


def make_certain_outside(background_DHW: np.ndarray, prepared: PreparedCase, probability: float = 1.0) -> None:
    """Add `probability` to that of background outside of the crop, in place; axes are those of the file."""
    view = prepared.axes.apply(background_DHW)
    inside = np.array(view[_window(prepared)])
    background_DHW += np.asarray(probability, background_DHW.dtype)
    view[_window(prepared)] = inside


def _resize_back(logits_KDHW: torch.Tensor, prepared: PreparedCase, plan: Plan, configuration: Configuration) -> Resize:
    if len(logits_KDHW) != plan.labels.n_heads:
        raise ValueError(f"{prepared.name}: logits have {len(logits_KDHW)} heads, the plan {plan.labels.n_heads}")
    from_mm = prepared.axes.of_each(prepared.geometry.spacing_mm)
    depth, height, width = logits_KDHW.shape[1:]
    rules = configuration.resampling
    return plan_resize(((depth, height, width), prepared.cropped_shape), prepared.spacing_mm, from_mm,
                       rules.order_logits, rules)


def _decided_slabs(logits_KDHW: torch.Tensor, resize: Resize,
                   has_regions: bool) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Decisions on the file's grid by linear or nearest resampling, slab by slab."""
    if resize.is_identity:
        for start, stop in _slabs(len(logits_KDHW), resize.shape_out):
            yield start, stop, decide_index(logits_KDHW[:, start:stop], has_regions)
        return
    _, *strides = logits_KDHW.stride()
    stride = (strides[0], strides[1], strides[2])
    taps = grid_taps(resize, logits_KDHW.device, torch.float32)
    flat_KN = in_memory(logits_KDHW)
    for slab in resample_decisions(lambda start, stop: decide_index(logits_KDHW[:, start:stop], has_regions), taps):
        for voxels, index, weight in corners(slab, taps, stride):
            # Neighbours share samples: fetching each once, its classes side by side, is four times faster.
            used, index = torch.unique(index, return_inverse=True)
            samples_UK = flat_KN[:, used].T.float().contiguous()
            mixed_NK = F.embedding_bag(index, samples_UK, per_sample_weights=weight, mode="sum")
            slab.decided_DHW[voxels.unbind(1)] = decide_index(mixed_NK.T, has_regions)
        yield slab.start, slab.stop, slab.decided_DHW


def _logit_slabs(logits_KDHW: torch.Tensor, resize: Resize) -> Iterator[tuple[int, int, torch.Tensor]]:
    """Resampled logits (K, rows, H, W), float32, slab by slab along the first axis."""
    low, high = value_limits(logits_KDHW, resize)
    limits = (low.float(), high.float())
    for start, stop in _slabs(len(logits_KDHW), resize.shape_out):
        yield start, stop, resample_rows(logits_KDHW, resize, limits, start, stop)


def _slabs(n_heads: int, shape: tuple[int, int, int]) -> Iterator[tuple[int, int]]:
    """First and last row but one of each slab."""
    depth, height, width = shape
    rows = max(1, _SLAB_BYTES // (4 * n_heads * height * width))
    return ((start, min(depth, start + rows)) for start in range(0, depth, rows))


def _transposed_shape(prepared: PreparedCase) -> tuple[int, int, int]:
    return prepared.axes.of_each(prepared.geometry.shape)


def _window(prepared: PreparedCase) -> Window:
    return triple(slice(*side) for side in prepared.box)
