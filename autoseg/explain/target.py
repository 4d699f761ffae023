"""What a map explains: the log-odds of a label, averaged over the voxels of a target."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from autoseg.base.errors import UserError, listed
from autoseg.datasets.case import PreparedCase
from autoseg.explain.subject import Subject, stitched_logits
from autoseg.grids.components import components
from autoseg.prediction.decision import decide_heads
from planners.schema.labels import LabelSpec

_FORMS = "class, component:K (1 is the largest) or voxel:z,y,x"


@dataclass(frozen=True)
class Request:
    """Which voxels are asked about: all that a label was given (`class`), one 26-connected component of them by its rank in
    size, or one voxel of the file's grid (z, y, x; from 0).
    """

    kind: Literal["class", "component", "voxel"] = "class"
    component: int = 1
    voxel: tuple[int, int, int] = (0, 0, 0)

    @property
    def title(self) -> str:
        return {"class": "all of its voxels", "component": f"component {self.component}",
                "voxel": f"voxel {','.join(map(str, self.voxel))}"}[self.kind]


@dataclass(frozen=True)
class Target:
    """A label, the number of its head, and the voxels (bool, prepared grid) whose prediction is explained."""

    label: str
    head: int
    mask_DHW: torch.Tensor
    title: str


def parse_request(text: str) -> Request:
    """The request that a text makes; a UserError where it is of no known form.

    >>> parse_request("component:2").component, parse_request("voxel:3,4,5").voxel
    (2, (3, 4, 5))
    """
    if text == "class":
        return Request()
    component, voxel = re.fullmatch(r"component:([1-9]\d*)", text), re.fullmatch(r"voxel:(\d+),(\d+),(\d+)", text)
    if component is not None:
        return Request("component", component=int(component[1]))
    if voxel is not None:
        return Request("voxel", voxel=(int(voxel[1]), int(voxel[2]), int(voxel[3])))
    raise UserError("the target is of no known form", found=text, expected=_FORMS)


def check_labels(only: Sequence[str], labels: LabelSpec) -> None:
    """A UserError where a label is asked for that the model does not have."""
    unknown = [name for name in only if name not in labels.foreground]
    if unknown:
        raise UserError("the model has no such label", found=listed(unknown), expected=", ".join(labels.foreground))


def targets_of(request: Request, only: Sequence[str], prepared: PreparedCase, labels: LabelSpec, logits_KDHW: torch.Tensor
               ) -> list[Target]:
    """A target for each label that is asked for (`only`; empty: each that the prediction has there).

    At a voxel that was given no label, it is the label that came nearest. Raises UserError where a component or voxel does
    not exist; empty where nothing was predicted.
    """
    heads = {name: labels.heads.index(name) for name in only or labels.foreground}
    decided_KDHW = decide_heads(logits_KDHW, labels.has_regions)
    if request.kind == "voxel":
        at = place_of(request.voxel, prepared)
        mask_DHW = torch.zeros(logits_KDHW.shape[1:], dtype=torch.bool)
        mask_DHW[at] = True
        if not only:
            decided = {name: head for name, head in heads.items() if bool(decided_KDHW[(head, *at)])}
            nearest = max(heads, key=lambda name: float(logits_KDHW[(heads[name], *at)]))
            heads = decided or {nearest: heads[nearest]}
        return [Target(name, head, mask_DHW, request.title) for name, head in heads.items()]
    targets = [Target(name, head, decided_KDHW[head], request.title) for name, head in heads.items()
               if bool(decided_KDHW[head].any())]
    if request.kind == "component":
        return _of_component(request, targets, prepared.name)
    return targets


def _of_component(request: Request, targets: Sequence[Target], case: str) -> list[Target]:
    """The targets cut down to one component each, where they have as many; a UserError where none has."""
    kept, counts = [], {}
    for target in targets:
        ranked = ranked_components(target.mask_DHW.numpy())
        counts[target.label] = int(ranked.max())
        if request.component <= counts[target.label]:
            mask_DHW = torch.from_numpy(ranked == request.component)
            kept.append(Target(target.label, target.head, mask_DHW, target.title))
    if not kept:
        predicted = ", ".join(f"{label}: {n}" for label, n in counts.items()) or "nothing was predicted"
        raise UserError("the prediction has no such component", where=f"case {case}", found=predicted,
                        expected=f"component {request.component}", do="name one of these, or --target class")
    return kept


def ranked_components(mask_DHW: np.ndarray) -> np.ndarray:
    """The 26-connected components of a mask, numbered by size from 1, the largest; 0 outside (int32)."""
    component_DHW, n = components(mask_DHW)
    sizes = np.bincount(component_DHW.ravel(), minlength=n + 1)[1:]
    ranks = np.zeros(n + 1, np.int32)
    ranks[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, n + 1)
    return ranks[component_DHW]


def place_of(voxel: tuple[int, int, int], prepared: PreparedCase) -> tuple[int, int, int]:
    """Where a voxel of the file (z, y, x) lies on the prepared grid; a UserError where it is outside of the image, or of
    what the network sees of it.
    """
    shape = prepared.geometry.shape
    if any(v >= n for v, n in zip(voxel, shape, strict=True)):
        raise UserError("the voxel lies outside the image", where=f"case {prepared.name}", found=list(voxel),
                        expected=f"z, y, x from [0, 0, 0] to {[n - 1 for n in shape]}")
    extents = prepared.axes.of_each(shape)
    places = []
    for axis, at in enumerate(prepared.axes.of_each(voxel)):
        at = extents[axis] - 1 - at if prepared.flipped[axis] else at
        start, stop = prepared.box[axis]
        if not start <= at < stop:
            raise UserError("the network does not see this voxel: around it the image is zero and was cropped",
                            where=f"case {prepared.name}", found=list(voxel), do="name a voxel within the body")
        places.append(int((at - start + 0.5) * prepared.shape[axis] / (stop - start)))
    return places[0], places[1], places[2]


def log_odds(logits_KX: torch.Tensor, head: int, has_regions: bool) -> torch.Tensor:
    """log(p / (1 - p)) of a head (X, ...). Of a region this is its logit. Of a label it is its logit less the log-sum of the
    others': a softmax does not see what all logits have in common.
    """
    if has_regions:
        return logits_KX[head]
    others = [k for k in range(len(logits_KX)) if k != head]
    return logits_KX[head] - logits_KX[others].logsumexp(0)


def pull_of(subject: Subject, target: Target) -> torch.Tensor:
    """The gradient (K, D, H, W; padded) of the target's mean log-odds with respect to the stitched logits.

    Stitched logits are sums over tiles, so what a tile contributes to this mean is, to first order, its own weighted logits
    times this gradient: maps of tiles add up to that of the whole prediction.
    """
    mask_DHW = padded_mask(subject, target)
    logits = stitched_logits(subject, subject.reached(mask_DHW)).requires_grad_()
    score = log_odds(logits, target.head, subject.labels.has_regions)[mask_DHW].mean()
    (pull_KDHW,) = torch.autograd.grad(score, logits)
    return pull_KDHW


def padded_mask(subject: Subject, target: Target) -> torch.Tensor:
    return subject.padded(target.mask_DHW[None].to(torch.uint8))[0] > 0


def probability(subject: Subject, target: Target) -> float:
    """The mean probability that the network gives the label in the voxels of the target."""
    mask_DHW = padded_mask(subject, target)
    logits = stitched_logits(subject, subject.reached(mask_DHW))[:, mask_DHW]
    scores = logits.sigmoid() if subject.labels.has_regions else logits.softmax(0)
    return float(scores[target.head].mean())
