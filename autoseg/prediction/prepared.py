"""Predicts a prepared case: what the plan says of mirroring, pairs and cascades, handed to the sliding window."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch

from autoseg.base.runtime import Runtime
from autoseg.clinical.conditions import CaseConditions
from autoseg.datasets.case import PreparedCase
from autoseg.prediction.collect import Progress
from autoseg.prediction.memory_plan import PredictionMemory
from autoseg.prediction.models import FoldModel
from autoseg.prediction.window import predict_logits
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan

NOTHING_KNOWN = CaseConditions()

# A tile is certain background where, without mirroring, no voxel of it is foreground with more than this probability.
_SUSPICIOUS = 0.01


def predict_prepared(models: Sequence[FoldModel], prepared: PreparedCase, plan: Plan, configuration: Configuration,
                     runtime: Runtime, *, mirroring: bool, skip_background: bool = False,
                     conditions: CaseConditions = NOTHING_KNOWN, memory: PredictionMemory | None = None,
                     progress: Progress = lambda done, total: None) -> torch.Tensor:
    """Logits (K, D, H, W) of a prepared case, the mean of the models and, with `mirroring`, of the mirrored copies.

    With `skip_background`, what a coarse pass shows to be background is not predicted in full. `conditions` are the
    patient's; each model encodes them with its own encoder. `memory` is kept from case to case;
    `progress(done, total)` counts forward passes of single tiles.
    """
    image = image_of(prepared, plan, configuration)
    absent = None if prepared.absent_CDHW is None else np.asarray(prepared.absent_CDHW[:], bool)
    return predict_logits([model.model for model in models], image, configuration, runtime,
                          present_C=np.asarray(prepared.present_C, bool), absent_CDHW=absent,
                          conditions=[model.encoded(conditions) for model in models],
                          mirror_axes=None if mirroring else (), head_swap=_head_swap(plan.labels),
                          pair_axis=configuration.pair_axis, n_heads=plan.labels.n_heads,
                          maybe=maybe_foreground(plan.labels) if skip_background else None, memory=memory,
                          progress=progress)


def image_of(prepared: PreparedCase, plan: Plan, configuration: Configuration) -> np.ndarray:
    """The channels that networks see; in a cascade, after those of the case, the earlier prediction."""
    image = np.asarray(prepared.image_CDHW[:])
    return np.concatenate([image, _one_hot(prepared, plan.labels)]) if configuration.previous else image


def maybe_foreground(labels: LabelSpec) -> Callable[[torch.Tensor], torch.Tensor]:
    """Says of logits (K, ...) where (...) foreground is more probable than one in a hundred."""
    least = math.log(_SUSPICIOUS / (1 - _SUSPICIOUS))
    if labels.has_regions:
        return lambda logits_KX: logits_KX.amax(0) > least
    return lambda logits_KX: logits_KX[1:].logsumexp(0) - logits_KX[0] > least


def _one_hot(prepared: PreparedCase, labels: LabelSpec) -> np.ndarray:
    """The earlier prediction as one binary channel per foreground name."""
    if prepared.previous_DHW is None:
        raise ValueError(f"{prepared.name}: the earlier stage's prediction is missing")
    previous_DHW = np.asarray(prepared.previous_DHW[:])
    return np.stack([np.isin(previous_DHW, labels.names[name]) for name in labels.foreground]).astype(np.float32)


def _head_swap(labels: LabelSpec) -> tuple[int, ...] | None:
    """For each head the head of its mirror image; None where no labels are paired."""
    if not labels.paired:
        return None
    heads = labels.heads
    return labels.twins(heads)
