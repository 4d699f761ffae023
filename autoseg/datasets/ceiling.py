"""What a grid leaves of the labels: the truth of some cases, brought to coarser grids and back as training and export do.

The Dice that is left is the most that a network on this grid can reach, as far as its borders follow its voxels.
"""

import functools
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from autoseg.base.parallel import Effort, each_case
from autoseg.base.processes import WorkerPool
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.case_cache import cached_label
from autoseg.formats.memory_estimate import most_voxels
from autoseg.grids.boxes import Box, box_of_values, boxes_of_values, extent
from autoseg.grids.components import components
from autoseg.grids.geometry import Axes, triple
from autoseg.grids.label_vote import resample_label
from autoseg.grids.resize import Resize, Triple, TripleMm, plan_resize, target_shape
from planners.schema.ceiling import Factors, GridCeiling, LabelCeiling
from planners.schema.labels import LabelSpec
from planners.schema.plan import Resampling

_CASES = 20  # that are sampled, evenly from all
_CASES_PER_LABEL = 8  # of a label that fewer of these have, more are added
_CASES_OF_ANY_LABEL = 2  # every label that so many have is measured, however many cases that takes
_MOST_CASES = 40  # for the rest
_BYTES_PER_VOXEL = 30  # of the file's label, its copies on two grids, and components
_RULES = Resampling()


@dataclass(frozen=True)
class LabelledCase:
    """A case whose label is brought to other grids: what preparing crops it to (start, stop along z, y, x of the file), its
    spacing, and the names of the labels that it has. Spacing and grids have the `axes` of the dataset's orientation.
    """

    files: CaseFiles
    box: tuple[tuple[int, int], ...]
    spacing_mm: TripleMm
    held: tuple[str, ...]
    axes: Axes = field(default_factory=Axes)

    @property
    def name(self) -> str:
        return self.files.name


@dataclass(frozen=True)
class LabelLeft:
    """What the grids (G,) leave of one label in one case: the Dice, and how many of its components."""

    components: int
    dice_G: np.ndarray
    kept_G: np.ndarray


def measure_ceilings(cases: Sequence[LabelledCase], labels: LabelSpec, full_mm: TripleMm, grids: Sequence[Factors],
                     workers: int = 1, worker_pool: WorkerPool | None = None) -> tuple[GridCeiling, ...]:
    """What each grid leaves of every label, on a sample of the cases that is always the same.

    `full_mm` (z, y, x) is the spacing of the full resolution, which the factors of `grids` multiply. A label that no
    sampled case has is in none of the results.
    """
    sample = [cases[i] for i in sampled([case.held for case in cases], labels.foreground)]
    estimate = _BYTES_PER_VOXEL * most_voxels(case.files.label for case in sample)
    work = functools.partial(left_of_labels, labels=labels, full_mm=full_mm, grids=tuple(grids))
    left = list(each_case(work, sample, workers, effort=Effort("measuring ceilings", estimate), worker_pool=worker_pool))
    return tuple(GridCeiling(factors=factors, labels=tuple(
        _ceiling(name, [case[name] for case in left if name in case], g)
        for name in labels.foreground if any(name in case for case in left))) for g, factors in enumerate(grids))


def sampled(held: Sequence[Collection[str]], names: Sequence[str]) -> list[int]:
    """Positions of the cases that are measured, of which each holds some labels: spread evenly over all, with more of
    those that have a rare label.

    >>> sampled([("organ",)] * 99 + [("organ", "lesion")], ("organ", "lesion"))[-3:]
    [89, 94, 99]
    """
    chosen = {int(i) for i in _spread(range(len(held)), _CASES)}
    having = {name: [i for i, names_of_case in enumerate(held) if name in names_of_case] for name in names}
    rarest_first = sorted(names, key=lambda name: len(having[name]))
    for wanted, most in ((_CASES_OF_ANY_LABEL, len(held)), (_CASES_PER_LABEL, _MOST_CASES)):
        for name in rarest_first:
            missing = min(wanted - len(chosen & set(having[name])), most - len(chosen))
            chosen |= set(_spread([i for i in having[name] if i not in chosen], missing))
    return sorted(chosen)


def _spread(values: Sequence[int], n: int) -> list[int]:
    """At most `n` of the values, at even distances."""
    n = min(n, len(values))
    return [values[round(i)] for i in np.linspace(0, len(values) - 1, n)] if n > 0 else []


def left_of_labels(case: LabelledCase, labels: LabelSpec, full_mm: TripleMm, grids: Sequence[Factors]
                   ) -> dict[str, LabelLeft]:
    """What each grid leaves of the labels of one case."""
    label_DHW = case.axes.apply(cached_label(case.files, labels)[tuple(slice(*side) for side in case.box)])
    shape = triple(int(n) for n in label_DHW.shape)
    window = _window(label_DHW, case.spacing_mm, full_mm, grids)
    places = {name: place for name in labels.foreground
              if (place := _place(label_DHW[window], labels.names[name])) is not None}
    ignored_N = np.flatnonzero(label_DHW[window] == labels.ignore) if labels.ignore is not None else np.zeros(0, np.int64)
    resizes = [_round_trip(shape, case.spacing_mm, full_mm, factors) for factors in grids]
    results: dict[tuple[Resize, Resize], dict[str, tuple[float, int]]] = {}
    for there, back in resizes:
        if (there, back) not in results:  # many grids are the same for a case of few slices
            result_DHW = resample_label(resample_label(label_DHW, there), back)[window]
            results[there, back] = _compared(np.ascontiguousarray(result_DHW), places, ignored_N)
    return {name: LabelLeft(place.components, np.array([results[pair][name][0] for pair in resizes]),
                            np.array([results[pair][name][1] for pair in resizes])) for name, place in places.items()}


@dataclass(frozen=True)
class _Place:
    """Where a label lies in the window of a case: flat indices, and the number of the component, from 0, of each (N,)."""

    values: tuple[int, ...]
    index_N: np.ndarray
    component_N: np.ndarray
    components: int


def _place(label_DHW: np.ndarray, values: tuple[int, ...]) -> _Place | None:
    box = box_of_values(boxes_of_values(label_DHW), values)
    if box is None:
        return None
    component_DHW, n = components(np.isin(label_DHW[box], values))
    at = np.nonzero(component_DHW)
    index_N = np.ravel_multi_index([axis + side.start for axis, side in zip(at, box, strict=True)], label_DHW.shape)
    return _Place(values, index_N, component_DHW[at] - 1, n)


def _window(label_DHW: np.ndarray, spacing_mm: TripleMm, full_mm: TripleMm, grids: Sequence[Factors]) -> Box:
    """The box of all labels, with a margin that no label can pass: two voxels of the coarsest grid."""
    box = extent(label_DHW)
    if box is None:
        return (slice(0, 1),) * 3
    factors = [max((grid[axis] or 1.0 for grid in grids), default=1.0) for axis in range(3)]
    margins = [2 + math.ceil(2 * factor * max(1.0, full / mm))
               for factor, full, mm in zip(factors, full_mm, spacing_mm, strict=True)]
    return tuple(slice(max(0, side.start - margin), side.stop + margin) for side, margin in zip(box, margins, strict=True))


def _round_trip(shape: Triple, spacing_mm: TripleMm, full_mm: TripleMm, factors: Factors) -> tuple[Resize, Resize]:
    """How a label comes to a grid in preparing, and back in export."""
    to_mm = triple(mm if factor is None else full * factor
                   for mm, full, factor in zip(spacing_mm, full_mm, factors, strict=True))
    coarse = target_shape(shape, spacing_mm, to_mm)
    return (plan_resize((shape, coarse), spacing_mm, to_mm, _RULES.order_label, _RULES),
            plan_resize((coarse, shape), to_mm, spacing_mm, _RULES.order_logits, _RULES))


def _compared(result_DHW: np.ndarray, places: Mapping[str, _Place], ignored_N: np.ndarray) -> dict[str, tuple[float, int]]:
    """For each label the Dice, and the number of components that are left."""
    result_N = result_DHW.reshape(-1)
    predicted = np.bincount(np.maximum(result_N, 0))
    if len(ignored_N):
        predicted -= np.bincount(np.maximum(result_N[ignored_N], 0), minlength=len(predicted))
    compared = {}
    for name, place in places.items():
        hit_N = np.isin(result_N[place.index_N], place.values)
        size = len(place.index_N) + sum(int(predicted[value]) for value in place.values if value < len(predicted))
        kept = np.count_nonzero(np.bincount(place.component_N[hit_N], minlength=place.components))
        compared[name] = (2 * int(np.count_nonzero(hit_N)) / size, int(kept))
    return compared


def _ceiling(name: str, cases: Sequence[LabelLeft], g: int) -> LabelCeiling:
    """Over the cases that have the label; one at least."""
    dice = np.array([case.dice_G[g] for case in cases])
    total = sum(case.components for case in cases)
    return LabelCeiling(name=name, cases=len(cases), dice=round(float(dice.mean()), 4),
                        dice_p25=round(float(np.percentile(dice, 25)), 4), components=total,
                        kept=round(sum(int(case.kept_G[g]) for case in cases) / total, 4))
