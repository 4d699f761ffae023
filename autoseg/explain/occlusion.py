"""What a prediction becomes without one of its inputs (occlusion, Zeiler and Fergus 2014). It needs no gradient."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoders import encode
from autoseg.datasets.case import PreparedCase
from autoseg.evaluation.score import score_case
from autoseg.evaluation.types import CaseScore, Scoring
from autoseg.explain.ablate import without
from autoseg.explain.explanations import Effect, Occlusion
from autoseg.explain.subject import Subject, fill_of, stitched_logits
from autoseg.explain.target import ranked_components
from autoseg.prediction.decision import decide_heads
from autoseg.prediction.export import restore_label
from autoseg.prediction.models import FoldModel
from planners.schema.plan import Configuration, Plan

Regions = Literal["components", "blocks", "none"]

MOST_COMPONENTS = 5  # of a label, the largest
_MOST_BLOCKS = 64  # of a case
_DICE = Scoring(metrics=("dice",))


@dataclass(frozen=True)
class Occluded:
    """What is needed to withhold inputs of a case: how it is seen, its complete logits (K, D, H, W; padded), and its true
    label on the file's grid, or None.
    """

    subject: Subject
    fold: FoldModel
    prepared: PreparedCase
    conditions: CaseConditions
    plan: Plan
    logits_KDHW: torch.Tensor
    truth_DHW: np.ndarray | None

    @property
    def configuration(self) -> Configuration:
        return self.subject.configuration


@dataclass(frozen=True)
class Prediction:
    """The volume of each label in ml, and the scores where there is a truth."""

    volumes_ml: dict[str, float]
    score: CaseScore | None


def occlusions(case: Occluded, regions: Regions) -> tuple[list[Occlusion], torch.Tensor | None]:
    """The effects of withholding each channel, each condition that is known, and each region; and, for blocks, by how many
    ml the volume of each foreground label falls without the block (F, D, H, W; padded).
    """
    before = _predicted(case, case.logits_KDHW)
    rows = [Occlusion(kind=kind, name=name, effects=_effects(case, before, logits))
            for kind, name, logits in itertools.chain(_channels(case), _columns(case))]
    if regions == "components":
        rows += [Occlusion(kind="component", name=name, effects=_effects(case, before, logits))
                 for name, logits in _components(case)]
    if regions != "blocks":
        return rows, None
    fall_FDHW = torch.zeros(len(case.plan.labels.foreground), *case.logits_KDHW.shape[1:])
    for window in blocks_of(case.subject.tiling.shape):
        inside = tuple(slice(side.start + first, side.stop + first)
                       for side, (first, _) in zip(window, case.subject.tiling.padding, strict=True))
        mask = torch.zeros(case.logits_KDHW.shape[1:], dtype=torch.bool)
        mask[inside] = True
        effects = _effects(case, before, _without_voxels(case, mask))
        place = " ".join(f"{side.start}:{side.stop}" for side in window)
        rows.append(Occlusion(kind="block", name=place, effects=effects))
        for number, effect in enumerate(effects):
            fall_FDHW[number][inside] = -effect.change_ml
    return rows, fall_FDHW


def blocks_of(shape: Sequence[int]) -> list[tuple[slice, ...]]:
    """At most 64 blocks that divide an image: the longest edge is halved as long as this gives no more.

    >>> len(blocks_of((8, 16, 16))), len(blocks_of((1, 64, 64)))
    (32, 64)
    """
    counts = [1, 1, 1]
    while True:
        edges = [n / count for n, count in zip(shape, counts, strict=True)]
        axis = edges.index(max(edges))
        if edges[axis] < 2 or 2 * counts[0] * counts[1] * counts[2] > _MOST_BLOCKS:
            break
        counts[axis] *= 2
    sides = [[slice(round(i * n / count), round((i + 1) * n / count)) for i in range(count)]
             for n, count in zip(shape, counts, strict=True)]
    return list(itertools.product(*sides))


def _channels(case: Occluded) -> Iterator[tuple[Literal["channel"], str, torch.Tensor]]:
    """The logits without each present channel; without its only one a case cannot be predicted."""
    present_C = case.subject.present_C
    for channel in np.flatnonzero(present_C) if present_C.sum() > 1 else ():
        fewer = present_C & (np.arange(len(present_C)) != channel)
        yield "channel", case.plan.channels[channel].name, _whole(replace(case.subject, present_C=fewer))


def _columns(case: Occluded) -> Iterator[tuple[Literal["column"], str, torch.Tensor]]:
    """The logits without each column, vector and token bag that is known of the case."""
    if case.fold.encoder is None:
        return
    encoded = encode(case.fold.encoder, case.conditions)
    for item in case.fold.encoder.layout.inputs:
        if encoded.knows(item):
            fewer = case.fold.encoded(without(case.conditions, item.name))
            yield "column", item.name, _whole(replace(case.subject, conditions=fewer))


def _components(case: Occluded) -> Iterator[tuple[str, torch.Tensor]]:
    """The logits with the voxels of a predicted component filled, of the largest components of each label."""
    labels = case.plan.labels
    decided_KDHW = decide_heads(case.logits_KDHW, labels.has_regions)
    for name in labels.foreground:
        ranked = ranked_components(decided_KDHW[labels.heads.index(name)].numpy())
        for rank in range(1, min(MOST_COMPONENTS, int(ranked.max(initial=0))) + 1):
            yield f"{name} {rank}", _without_voxels(case, torch.from_numpy(ranked == rank))


def _without_voxels(case: Occluded, mask_DHW: torch.Tensor) -> torch.Tensor:
    """The logits with all channels filled in a mask (bool, padded). Only the tiles that hold it are predicted again."""
    filled = torch.where(mask_DHW, fill_of(case.subject.model)[:, None, None, None], case.subject.image_CDHW)
    tiles = case.subject.reached(mask_DHW)
    changed = stitched_logits(case.subject.with_image(filled), tiles) - stitched_logits(case.subject, tiles)
    return case.logits_KDHW + changed


def _whole(subject: Subject) -> torch.Tensor:
    return stitched_logits(subject, list(subject.tiling))


def _predicted(case: Occluded, logits_KDHW: torch.Tensor) -> Prediction:
    labels, geometry = case.plan.labels, case.prepared.geometry
    label_DHW = restore_label(case.subject.unpadded(logits_KDHW).contiguous(), case.prepared, case.plan, case.configuration)
    voxel_ml = float(np.prod(geometry.spacing_mm)) / 1000
    volumes = {name: float(np.isin(label_DHW, labels.names[name]).sum()) * voxel_ml for name in labels.foreground}
    if case.truth_DHW is None:
        return Prediction(volumes, None)
    return Prediction(volumes, score_case(case.truth_DHW, label_DHW, labels, geometry.spacing_mm, case.prepared.name,
                                          scoring=_DICE))


def _effects(case: Occluded, before: Prediction, logits_KDHW: torch.Tensor) -> tuple[Effect, ...]:
    after = _predicted(case, logits_KDHW)

    def dice(prediction: Prediction) -> dict[str, float | None]:
        return {} if prediction.score is None else {label.name: label.dice for label in prediction.score.labels}

    return tuple(Effect(label=name, volume_ml=after.volumes_ml[name], volume_ml_before=before.volumes_ml[name],
                        dice=dice(after).get(name), dice_before=dice(before).get(name))
                 for name in case.plan.labels.foreground)
