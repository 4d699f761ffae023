"""One cross-validation case of a candidate: its truth and its mask. Both are read when they are needed and not kept."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TypeVar

import numpy as np

from autoseg.base.errors import UserError
from autoseg.base.parallel import Effort, each_case
from autoseg.base.progress import progress_bar
from autoseg.evaluation.folders import BYTES_PER_VOXEL
from autoseg.evaluation.types import CaseScore, mean
from autoseg.formats import read_label
from autoseg.formats.memory_estimate import most_voxels
from autoseg.formats.probabilities import LEVELS, SavedProbabilities, read_probabilities
from autoseg.grids.boxes import joint_box
from autoseg.grids.geometry import Geometry
from autoseg.prediction.decision import decided
from autoseg.selection.gather import Contender, CrossValidation
from planners.schema.labels import LabelSpec

T = TypeVar("T")

# Starting processes takes seconds; shorter work is done in this process.
_SECONDS_WORTH_PROCESSES = 20.0
_TRIED = 2  # cases that are timed to estimate the time of all


@dataclass(frozen=True)
class CandidateCase:
    """The files of a case: its truth, its mask and its probabilities.

    A single configuration has the file `mask`. The mask of several configurations comes from their mean probabilities.
    """

    name: str
    truth: Path
    labels: LabelSpec
    annotated: tuple[str, ...]  # foreground names
    mask: Path | None
    probabilities: tuple[Path, ...]

    def read_truth(self) -> tuple[np.ndarray, Geometry]:
        return read_label(self.truth)

    def read_mask(self) -> np.ndarray:
        """The label map (z, y, x) before postprocessing."""
        return read_label(self.mask)[0] if self.mask is not None else mean_label(self.read_probabilities(), self.labels)

    def read_probabilities(self) -> list[SavedProbabilities]:
        """The probabilities of each configuration, from the fold that was not trained on the case."""
        return [read_probabilities(path) for path in self.probabilities]


def cases_of(dataset: CrossValidation, members: Sequence[Contender]) -> list[CandidateCase]:
    """The cases of a configuration, or of several as an ensemble."""
    return [CandidateCase(name=name, truth=truth, labels=dataset.labels,
                          annotated=tuple(dataset.annotated.get(name, dataset.labels.foreground)),
                          mask=members[0].mask(name) if len(members) == 1 else None,
                          probabilities=tuple(member.probabilities(name) for member in members))
            for name, truth in dataset.truths.items()]


def mean_label(probabilities: Sequence[SavedProbabilities], labels: LabelSpec) -> np.ndarray:
    """The label map (z, y, x; int16) of the mean of several probabilities of one case; a UserError where grids differ."""
    shapes = {saved.shape for saved in probabilities}
    if len(shapes) > 1:
        raise UserError("the probabilities lie on different grids", found=", ".join(map(str, sorted(shapes))),
                        do="train the folds again")
    out = np.zeros(probabilities[0].shape, np.int16)
    box = joint_box([saved.box for saved in probabilities])
    total = reduce(np.add, (saved.within(box).astype(np.uint16) for saved in probabilities))
    out[box] = decided(total, labels, threshold=LEVELS * len(probabilities) / 2)
    return out


def decision_dice(score: CaseScore, annotated: Sequence[str]) -> float | None:
    """Mean Dice over the annotated labels, 1 for a label that neither truth nor mask has; None where none is annotated.

    Reported scores leave such a label out. Here it counts, since otherwise a removed false finding would gain nothing.
    """
    return mean([1.0 if label.is_empty else label.dice for label in score.labels if label.name in annotated]).value


def mapped(work: Callable[[CandidateCase], T], cases: Sequence[CandidateCase], workers: int, label: str) -> list[T]:
    """`work` of every case, in order; in several processes where that is faster."""
    with progress_bar(label, len(cases)) as bar:
        return list(each_case(work, cases, workers, bar.update,
                              effort=Effort(label, case_bytes(cases), _TRIED, _SECONDS_WORTH_PROCESSES)))


def case_bytes(cases: Sequence[CandidateCase]) -> int:
    """The memory of the largest case: its masks, the probabilities of each model as read (one byte) and as summed (two
    bytes), and float64 while they are compared.
    """
    models = max((len(case.probabilities) for case in cases), default=0)
    heads = len(cases[0].labels.names) if cases else 0
    return most_voxels(case.truth for case in cases) * (BYTES_PER_VOXEL + (3 * models + 8) * heads * (models > 0))
