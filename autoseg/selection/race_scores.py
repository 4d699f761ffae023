"""The Dice of candidates of a race, and of two of them together, from the probabilities that a rung keeps."""

from collections.abc import Callable, Sequence
from pathlib import Path

from autoseg.evaluation.score import score_case
from autoseg.selection.cases import CandidateCase, decision_dice, mapped
from autoseg.selection.gather import CrossValidation

PathOf = Callable[[str], Path]  # of a case's name, the file of its probabilities


def rung_dice(dataset: CrossValidation, names: Sequence[str], members: Sequence[PathOf], workers: int
              ) -> tuple[float | None, ...]:
    """The Dice that decides (see `decision_dice`) of each case, by the mean probabilities of the members."""
    cases = [CandidateCase(name=name, truth=dataset.truths[name], labels=dataset.labels, mask=None,
                           annotated=tuple(dataset.annotated.get(name, dataset.labels.foreground)),
                           probabilities=tuple(path_of(name) for path_of in members))
             for name in names]
    return tuple(mapped(_dice, cases, workers, "scoring"))


def _dice(case: CandidateCase) -> float | None:
    truth, geometry = case.read_truth()
    score = score_case(truth, case.read_mask(), case.labels, geometry.spacing_mm, case.name, annotated=case.annotated)
    return decision_dice(score, case.annotated)
