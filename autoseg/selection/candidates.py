"""Every configuration, and every pair as an ensemble, scored on all cross-validation cases; and which of them is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from autoseg.evaluation.score import score_case, summarize
from autoseg.evaluation.statistics import judge, paired_difference
from autoseg.evaluation.types import CaseScore
from autoseg.formats import read_header
from autoseg.grids.geometry import Geometry
from autoseg.selection.cases import CandidateCase, cases_of, decision_dice, mapped
from autoseg.selection.costs import prediction_cost
from autoseg.selection.gather import Contender, Dataset
from autoseg.selection.types import Candidate, Comparison


@dataclass(frozen=True)
class Scored:
    """A candidate with its cases and the Dice of each that decides (see `decision_dice`)."""

    candidate: Candidate
    contenders: tuple[Contender, ...]
    cases: tuple[CandidateCase, ...]
    dice: tuple[float | None, ...]


def score_candidates(dataset: Dataset, contenders: Sequence[Contender], workers: int) -> tuple[list[Scored], list[str]]:
    """All candidates, and notes on the pairs that could not be scored because probabilities were not saved."""
    grids = [read_header(path).geometry for path in dataset.truths.values()]
    # Not the scores that the folds wrote: labels may have been corrected since, and all must be judged by the same truth.
    scored = [_scored(dataset, (one,), mapped(_score, cases_of(dataset, (one,)), workers, f"scoring {one.member.title}"),
                      grids) for one in contenders]
    notes = []
    if len(contenders) > 1:
        without = [one for one in contenders if one.folds_without_probabilities()]
        notes = [f"ensembles with {one.member.title} were not scored, since probabilities were not saved: "
                 f"{one.how_to_save_probabilities()}" for one in without]
    ready = [one for one in contenders if not one.folds_without_probabilities()]
    for pair in combinations(ready, 2):
        title = " + ".join(one.member.title for one in pair)
        scores = mapped(_score, cases_of(dataset, pair), workers, f"scoring {title}")
        scored.append(_scored(dataset, pair, scores, grids))
    return scored, notes


def choose(scored: Sequence[Scored], seed: int = 0) -> tuple[Scored, list[Comparison]]:
    """The cheapest candidate, unless a costlier one is better on the same cases; challengers come in the order of cost.

    Better is what `evaluate.compare.judge` calls so without a margin: the 95 % interval of the paired difference to the
    incumbent lies above 0. Of equal cost the one with the higher mean is asked first.
    """
    ranked = sorted(scored, key=lambda one: (one.candidate.cost, -_mean(one.dice), one.candidate.title))
    incumbent, comparisons = ranked[0], []
    for candidate in ranked[1:]:
        comparison = compare(candidate.candidate.title, candidate.dice, incumbent.candidate.title, incumbent.dice, seed)
        comparisons.append(comparison)
        incumbent = candidate if comparison.accepted else incumbent
    return incumbent, comparisons


def compare(candidate: str, challenging: Sequence[float | None], incumbent: str, holding: Sequence[float | None],
            seed: int = 0) -> Comparison:
    """Whether one takes the place of the other, by the Dice of each case."""
    difference = paired_difference(challenging, holding, seed)
    better = judge(difference, margin=0.0) == "better"
    return Comparison(incumbent=incumbent, candidate=candidate, difference=difference, accepted=better)


def _scored(dataset: Dataset, members: tuple[Contender, ...], scores: Sequence[CaseScore], grids: Sequence[Geometry]
            ) -> Scored:
    cases = cases_of(dataset, members)
    candidate = Candidate(members=tuple(one.member for one in members), scores=summarize(scores, dataset.labels),
                          cost=sum(prediction_cost(one.plan, one.member, grids) for one in members))
    dice = tuple(decision_dice(score, case.annotated) for score, case in zip(scores, cases, strict=True))
    return Scored(candidate, members, tuple(cases), dice)


def _score(case: CandidateCase) -> CaseScore:
    truth, geometry = case.read_truth()
    return score_case(truth, case.read_mask(), case.labels, geometry.spacing_mm, case.name, annotated=case.annotated)


def _mean(dice: Sequence[float | None]) -> float:
    known = [value for value in dice if value is not None]
    return sum(known) / len(known) if known else 0.0
