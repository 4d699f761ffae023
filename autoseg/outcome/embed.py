"""What a segmentation network sees in a case, as one vector, and the crop around the lesion as an image of fixed size.

E channels of the bottleneck. The tiles are those of prediction, without mirroring; each counts alike.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch.nn import functional as F

from autoseg.base.runtime import Runtime
from autoseg.datasets.case import PreparedCase
from autoseg.grids.boxes import extent
from autoseg.prediction.models import FoldModel
from autoseg.prediction.prepared import image_of
from autoseg.prediction.tiles import cover
from autoseg.preprocessing.cascade import with_previous
from planners.schema.plan import Configuration, Plan

CROP = (24, 24, 24)  # voxels of the image of the lesion
_MARGIN = 0.25  # of the lesion's box, on each side: what is around it counts, too
_LEAST_SIDE = 8  # voxels of a crop before it is resampled


def lesion_on_grid(prepared: PreparedCase, mask_DHW: np.ndarray, configuration: Configuration) -> np.ndarray:
    """A mask (z, y, x) on the file's grid as bool on the grid of the prepared case; what lies outside of it is lost."""
    there = with_previous(prepared, mask_DHW.astype(np.int16), configuration).previous_DHW
    assert there is not None
    return np.asarray(there[:]) > 0


@torch.inference_mode()
def embedding(model: FoldModel, prepared: PreparedCase, lesion_DHW: np.ndarray, plan: Plan, configuration: Configuration,
              runtime: Runtime) -> np.ndarray:
    """(2 E,) float64: the mean of the bottleneck over the case, and its mean where the lesion is (on the prepared grid),
    NaN where there is none.
    """
    image = torch.as_tensor(image_of(prepared, plan, configuration)).float()
    tiling = cover(image.shape[1:], configuration.patch)
    absent = None if prepared.absent_CDHW is None else torch.as_tensor(np.asarray(prepared.absent_CDHW[:], bool)).float()
    padded, lesion = tiling.padded(image), tiling.padded(torch.as_tensor(lesion_DHW).float()[None])
    hidden = None if absent is None else tiling.padded(absent)
    present = torch.as_tensor(np.asarray(prepared.present_C, bool), device=runtime.device)[None]
    sums: list[torch.Tensor] = []
    flat = configuration.dimensions == 2
    for tile in tiling:
        window = (slice(None), *tile.window)
        parts = [None if whole is None else _sample(whole[window], flat=flat) for whole in (padded, hidden, lesion)]
        seen, masked, inside = parts
        assert seen is not None and inside is not None
        with runtime.autocast():
            bottleneck = model.model.encode(runtime.arranged(seen.to(runtime.device), configuration.dimensions), present,
                                            None if masked is None else masked.to(runtime.device) > 0)[-1]
        sums.append(_pooled(bottleneck.float().cpu(), inside))
    return _means(torch.stack(sums))


def _sample(tile_CDHW: torch.Tensor, *, flat: bool) -> torch.Tensor:
    """A tile as a batch of one; of a 2D configuration its only slice."""
    return (tile_CDHW[:, 0] if flat else tile_CDHW)[None]


def _pooled(features_1EX: torch.Tensor, inside_11X: torch.Tensor) -> torch.Tensor:
    """Sums of a tile (2 E + 2,): of the features over all places, of those in the lesion, and the two weights."""
    depth, height, width = (1, *features_1EX.shape[2:])[-3:]
    inside_1DHW = inside_11X[0] if inside_11X.ndim == 5 else inside_11X  # a slice is a volume of one
    share_X = F.adaptive_avg_pool3d(inside_1DHW, (depth, height, width))[0].reshape(features_1EX.shape[2:])
    features_EX = features_1EX[0]
    return torch.cat([features_EX.flatten(1).sum(1), (features_EX * share_X).flatten(1).sum(1),
                      torch.tensor([float(share_X.numel()), float(share_X.sum())])]).double()


def _means(sums_T: torch.Tensor) -> np.ndarray:
    total = sums_T.sum(0).numpy()
    n = (len(total) - 2) // 2
    lesion = total[n:2 * n] / total[-1] if total[-1] > 0 else np.full(n, np.nan)
    return np.concatenate([total[:n] / total[-2], lesion])


def lesion_crop(prepared: PreparedCase, lesion_DHW: np.ndarray, size: Sequence[int] = CROP) -> np.ndarray:
    """The channels around the lesion (C, *size) float32, normalised as the network sees them, resampled linearly; NaN where
    there is no lesion.
    """
    image = np.asarray(prepared.image_CDHW[:])[: len(prepared.present_C)]
    box = extent(lesion_DHW)
    if box is None:
        return np.full((len(image), *size), np.nan, np.float32)
    sides = []
    for side, n in zip(box, lesion_DHW.shape, strict=True):
        length = max(_LEAST_SIDE, round((side.stop - side.start) * (1 + 2 * _MARGIN)))
        start = max(0, (side.start + side.stop - length) // 2)
        sides.append(slice(min(start, max(0, n - length)), min(n, start + length)))
    cropped = torch.from_numpy(np.ascontiguousarray(image[(slice(None), *sides)], dtype=np.float32))[None]
    return F.interpolate(cropped, tuple(size), mode="trilinear", align_corners=False)[0].numpy()


def relative(embedding_E: np.ndarray, anchors_AE: np.ndarray) -> np.ndarray:
    """The cosine (A,) between an embedding and each anchor, both standardised by the anchors, channel by channel.

    The axes of the bottlenecks of two trainings have nothing to do with each other; the angles between cases have (relative
    representations: Moschella et al. 2023, ICLR, arXiv:2209.15430). NaN where the embedding, or an anchor's, is not known.
    """
    cosine_A, known_A = np.full(len(anchors_AE), np.nan), np.isfinite(anchors_AE).all(1)
    if known_A.sum() < 2 or not np.isfinite(embedding_E).all():
        return cosine_A
    known_KE = anchors_AE[known_A]
    mean_E, std_E = known_KE.mean(0), known_KE.std(0)
    varies = std_E > 1e-6 * np.maximum(1e-6, np.abs(mean_E))
    scaled_KE, scaled_E = (known_KE - mean_E)[:, varies] / std_E[varies], (embedding_E - mean_E)[varies] / std_E[varies]
    lengths_K = np.linalg.norm(scaled_KE, axis=1) * np.linalg.norm(scaled_E)
    cosine_A[known_A] = np.divide(scaled_KE @ scaled_E, lengths_K, out=np.zeros(len(known_KE)), where=lengths_K > 0)
    return cosine_A
