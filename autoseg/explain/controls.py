"""The controls of a map: deleting what it marks, and shuffling the weights that made it."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from scipy import ndimage, stats

from autoseg.evaluation.statistics import bootstrap_mean
from autoseg.explain.explanations import Deletion, Shuffled
from autoseg.explain.subject import Subject, fill_of
from autoseg.explain.target import Target, padded_mask, probability
from autoseg.nn.model import Model

SHARES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2)  # of the voxels; nearly even steps of a logarithm, since targets may be small
_STEPS = 4  # of the weights that are shuffled, from the output to the input
_MOST_RANKED = 200_000  # voxels whose ranks are compared
_SAME = 1e-6  # ranks that differ by less are the same but for rounding

Maker = Callable[[Subject], torch.Tensor]  # the map (C, D, H, W; padded) of the same target by another network


def deletion_of(subject: Subject, target: Target, map_CDHW: torch.Tensor, *, draws: int, seed: int) -> Deletion:
    """The deletion curve of a map (1 or C, D, H, W; padded) against deletions of the same pattern at random places.

    A pattern is moved by a random displacement within the box of the tiles that hold the target, around its border, and,
    where the map has channels, to random present channels. So both deletions have the same size, and the same holes and
    edges, which by themselves disturb a network. Beyond that box a deletion could change nothing.
    """
    box = (slice(None), *subject.field(padded_mask(subject, target)))
    values = subject.unpadded(map_CDHW)[box]
    rng = np.random.default_rng(seed)
    moves = [_Move(rng, subject, values.shape[1:]) for _ in range(draws)]
    before = max(probability(subject, target), 1e-12)

    def kept_without(pattern_CDHW: torch.Tensor) -> float:
        return probability(_deleted(subject, pattern_CDHW, box), target) / before

    kept, kept_at_random = [], []
    for pattern in _patterns(subject, values):
        kept.append(kept_without(pattern))
        kept_at_random.append([kept_without(move(pattern)) for move in moves])
    areas = (np.array(kept_at_random) - np.array(kept)[:, None]).mean(0)
    return Deletion(shares=SHARES, kept=tuple(kept), kept_at_random=tuple(map(fmean, kept_at_random)),
                    area=bootstrap_mean(areas, seed))


def _patterns(subject: Subject, values: torch.Tensor) -> Iterator[torch.Tensor]:
    """For each share the largest values of a map (bool, of its shape), as far as they are above 0."""
    counted = values[torch.as_tensor(subject.present_C)] if len(values) == subject.n_channels else values
    places = [counted.numel() - max(1, round(share * counted.numel())) for share in SHARES]
    ranked = np.partition(counted.numpy().ravel(), places)
    for place in places:
        yield (values >= float(ranked[place])) & (values > 0)


class _Move:
    """A random displacement of a pattern around the border of a box, and a random order of the present channels."""

    def __init__(self, rng: np.random.Generator, subject: Subject, shape: Sequence[int]):
        self.steps = [int(rng.integers(n)) for n in shape]
        present = np.flatnonzero(subject.present_C)
        self.channels = np.arange(subject.n_channels)
        self.channels[present] = rng.permutation(present)

    def __call__(self, pattern_CDHW: torch.Tensor) -> torch.Tensor:
        moved = torch.roll(pattern_CDHW, self.steps, (1, 2, 3))
        return moved[torch.from_numpy(self.channels)] if len(moved) == len(self.channels) else moved


def _deleted(subject: Subject, pattern_CDHW: torch.Tensor, box: tuple[slice, ...]) -> Subject:
    """The case with the channel's fill value wherever a pattern in a box says; of one channel for all."""
    image = subject.unpadded(subject.image_CDHW).clone()
    image[box] = torch.where(pattern_CDHW, fill_of(subject.model)[:, None, None, None], image[box])
    return subject.with_image(subject.padded(image))


def shuffled_of(subject: Subject, target: Target, map_CDHW: torch.Tensor, make: Maker, *, seed: int
                ) -> tuple[Shuffled, ...]:
    """The rank correlation of a map with those that the network gives when its weights are shuffled, in up to four steps
    from the output to the input (cascading randomisation, Adebayo et al. 2018).

    The values of each tensor change places, so that their distribution stays. Where the map is nothing but a function of
    the distance from the target, plain ranks are compared: it may not depend on the weights at all.
    """
    places = _Places.within(subject, target, len(map_CDHW), seed)
    before, model = places.ranked(subject, map_CDHW), copy.deepcopy(subject.model)
    generator = torch.Generator().manual_seed(seed)
    steps = steps_of(model)
    results = []
    for number, (until, names) in enumerate(steps.items()):
        _shuffle(model, names, generator)
        if number in _chosen(len(steps)):
            after = places.ranked(subject, make(subject.with_model(model)))
            kind = int(before[1].std() >= _SAME)  # whether it says more than how far the target is
            results.append(Shuffled(until=until, correlation=_correlation(before[kind], after[kind])))
    return tuple(results)


@dataclass(frozen=True)
class _Places:
    """Where maps are compared: some voxels of the box of the tiles that hold the target, those that each channel has of them
    (C, N), and how far they are from the target, in whole voxels (N,).

    Every map of a target falls with the distance from it, whatever the weights are. So a rank counts by how much it differs
    from the mean rank of the voxels at the same distance.
    """

    box: tuple[slice, ...]
    chosen_N: np.ndarray
    usable_CN: np.ndarray
    distance_N: np.ndarray

    @classmethod
    def within(cls, subject: Subject, target: Target, n_channels: int, seed: int) -> "_Places":
        box = (slice(None), *subject.field(padded_mask(subject, target)))
        mask_DHW = target.mask_DHW[box[1:]].numpy()
        chosen_N = np.random.default_rng(seed).permutation(mask_DHW.size)[:_MOST_RANKED]
        distance_N = ndimage.distance_transform_edt(~mask_DHW).ravel()[chosen_N].round().astype(int)
        usable_CN = np.ones((n_channels, len(chosen_N)), bool)
        if n_channels == subject.n_channels:
            usable_CN &= subject.present_C[:, None]
            if len(subject.absent_CDHW):
                usable_CN &= subject.unpadded(subject.absent_CDHW)[box].flatten(1).numpy()[:, chosen_N] == 0
        return cls(box, chosen_N, usable_CN, distance_N)

    def ranked(self, subject: Subject, map_CDHW: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """The ranks at these places; and the same less the mean rank at the same distance."""
        values_CN = subject.unpadded(map_CDHW)[self.box].flatten(1).numpy()[:, self.chosen_N]
        ranks = stats.rankdata(values_CN[self.usable_CN])
        distance = np.broadcast_to(self.distance_N, values_CN.shape)[self.usable_CN]
        mean = np.bincount(distance, ranks) / np.maximum(np.bincount(distance), 1)
        return ranks, ranks - mean[distance]


def steps_of(model: Model) -> Mapping[str, tuple[str, ...]]:
    """The parameters of a model in the order from the output to the input: those of the layers that give logits, of each
    stage of the decoder, of the conditioning, of the stages of the encoder, of the fusion; every one in a single step.
    """
    steps: dict[str, list[str]] = {}
    logits = {id(parameter) for layer in getattr(model.network, "logit_layers", ()) for parameter in layer.parameters()}
    for name, parameter in model.named_parameters():
        steps.setdefault("logits" if id(parameter) in logits else _step(name), []).append(name)
    return {step: tuple(steps[step]) for step in sorted(steps, key=_depth)}


def _step(name: str) -> str:
    """The part of the model that a parameter belongs to: `decoder 2` of `network.decoder.stages.2.0.weight`."""
    words = name.split(".")
    if words[0] != "network":
        return words[0]
    number = next((word for word in words if word.isdigit()), "")
    return f"{'decoder' if words[1] == 'decoder' else 'encoder'} {number}".strip()


def _depth(step: str) -> tuple[int, int]:
    """The order of steps from the output to the input; what has no number is the first of the encoder, or of the decoder."""
    kind, _, number = step.partition(" ")
    known = ("logits", "decoder", "conditioning", "encoder", "fusion")
    return known.index(kind), -int(number or -1)


def _chosen(n: int) -> set[int]:
    """Which of n steps are measured: evenly spaced, the first and the last included."""
    return set(np.linspace(0, n - 1, min(n, _STEPS)).round().astype(int).tolist())


def _shuffle(model: Model, names: tuple[str, ...], generator: torch.Generator) -> None:
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in names:
            values = parameters[name]
            order = torch.randperm(values.numel(), generator=generator).to(values.device)
            values.copy_(values.flatten()[order].view(values.shape))


def _correlation(before: np.ndarray, after: np.ndarray) -> float:
    """Pearson's, of ranks; 0 where one of both is the same everywhere."""
    if before.std() < _SAME or after.std() < _SAME:
        return 0.0
    return float(np.corrcoef(before, after)[0, 1])
