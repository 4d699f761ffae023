"""The maps of a case, each with its controls and its sentence."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from autoseg.explain.attention import fusion_attention, rollout, rolls_out, tokens_attention
from autoseg.explain.controls import Maker, deletion_of, shuffled_of
from autoseg.explain.explanations import QUALITATIVE, MapRecord, Method, verdict_of
from autoseg.explain.gradcam import seg_grad_cam
from autoseg.explain.restore import scaled
from autoseg.explain.smoothgrad import smooth_grad
from autoseg.explain.subject import Subject
from autoseg.explain.target import Target

_BLOCKS = "By how many ml the predicted volume falls without each block; it needs no further control."
NOTHING = "(nothing)"  # what a place reads that reads of no input


@dataclass(frozen=True)
class MapSettings:
    """Which maps are made: kinds of methods, the layer, noisy copies, random deletions, the seed; and the names of the
    plan's channels and of the inputs beside the image.
    """

    kinds: Collection[str]
    layer: str
    samples: int
    draws: int
    seed: int
    channels: tuple[str, ...]
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class RecordedMap:
    """A map (C, D, H, W; padded, its maximum is 1) and what is said of it; the names of its files are not known yet."""

    map_CDHW: torch.Tensor
    record: MapRecord

    @classmethod
    def of_blocks(cls, fall_FDHW: torch.Tensor, labels: Sequence[str]) -> "RecordedMap":
        """By how many ml the volume of each label falls without each block."""
        return cls(fall_FDHW, MapRecord(method="occlusion", file="", channels=tuple(labels), sentence=_BLOCKS))


def maps_of(subject: Subject, targets: Sequence[Target], settings: MapSettings) -> Iterator[RecordedMap]:
    """The maps of each target, then those that are of no label."""
    for target in targets:
        if "gradcam" in settings.kinds:
            yield _controlled(subject, target, "gradcam", settings,
                              partial(seg_grad_cam, target=target, layer=settings.layer))
        if "smoothgrad" in settings.kinds:
            yield _controlled(subject, target, "smoothgrad", settings,
                              partial(smooth_grad, target=target, samples=settings.samples, seed=settings.seed))
        if "attention" in settings.kinds and rolls_out(subject.model.network):
            yield _controlled(subject, target, "rollout", settings, partial(rollout, target=target))
    if "attention" in settings.kinds:
        fused, read = fusion_attention(subject), tokens_attention(subject, len(settings.inputs))
        if fused is not None:
            yield _of_no_label(subject, fused, "fusion_attention", settings.channels)
        if read is not None:
            yield _of_no_label(subject, read, "tokens_attention", (NOTHING, *settings.inputs))


def _controlled(subject: Subject, target: Target, method: Method, settings: MapSettings, make: Maker) -> RecordedMap:
    map_CDHW = make(subject)
    deletion = deletion_of(subject, target, map_CDHW, draws=settings.draws, seed=settings.seed)
    shuffled = shuffled_of(subject, target, map_CDHW, make, seed=settings.seed)
    passed, sentence = verdict_of(deletion, shuffled)
    channels = settings.channels if len(map_CDHW) == len(settings.channels) else ()
    return RecordedMap(scaled(map_CDHW), MapRecord(
        label=target.label, method=method, layer=settings.layer if method == "gradcam" else "", target=target.title, file="",
        channels=channels, shares=_shares(map_CDHW) if channels else (), deletion=deletion, shuffled=shuffled, passed=passed,
        sentence=f"{sentence} {QUALITATIVE}" if method == "rollout" else sentence))


def _of_no_label(subject: Subject, map_CDHW: torch.Tensor, method: Method, channels: tuple[str, ...]) -> RecordedMap:
    shares = _shares(subject.unpadded(map_CDHW))
    return RecordedMap(map_CDHW, MapRecord(method=method, file="", channels=channels, shares=shares, sentence=QUALITATIVE))


def _shares(map_CDHW: torch.Tensor) -> tuple[float, ...]:
    """What each channel has of the sum of a map; 0 where that is 0."""
    sums = map_CDHW.double().sum((1, 2, 3))
    return tuple((sums / sums.sum().clamp(min=1e-300)).tolist())
