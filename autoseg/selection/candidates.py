"""Score every configuration, and every pair as an ensemble, on all cross-validation cases; choose one of them."""

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
from autoseg.selection.gather import Contender, CrossValidation
from autoseg.selection.types import Candidate, Comparison


@dataclass(frozen=True)
class Scored:
    """A candidate with its cases and, per case, the Dice that decides (see `decision_dice`)."""

    candidate: Candidate
    contenders: tuple[Contender, ...]
    cases: tuple[CandidateCase, ...]
    dice: tuple[float | None, ...]


def score_candidates(dataset: CrossValidation, contenders: Sequence[Contender], workers: int, most_together: int = 2
                     ) -> tuple[list[Scored], list[str]]:
    """All candidates, of at most so many contenders each, and notes on those that could not be scored together because
    probabilities were not saved.
    """
    grids = [read_header(path).geometry for path in dataset.truths.values()]
    # Masks are scored again: labels may have been corrected since the folds were scored, and every candidate needs the
    # same truth.
    ready = [contender for contender in contenders if not contender.folds_without_probabilities()]
    groups: list[tuple[Contender, ...]] = [(contender,) for contender in contenders]
    groups += [members for n in range(2, most_together + 1) for members in combinations(ready, n)]
    scored = []
    for members in groups:
        title = " + ".join(contender.member.title for contender in members)
        scores = mapped(_score, cases_of(dataset, members), workers, f"scoring {title}")
        scored.append(_scored(dataset, members, scores, grids))
    if len(contenders) == 1 or most_together == 1:
        return scored, []
    return scored, [f"ensembles with {contender.member.title} were not scored, since probabilities were not saved: "
                    f"{contender.commands_for_probabilities()}" for contender in contenders if contender not in ready]


def choose(scored: Sequence[Scored], seed: int = 0) -> tuple[Scored, list[Comparison]]:
    """The cheapest candidate, unless a costlier one is better on the same cases; candidates are tested in order of cost.

    "Better" is the answer of `evaluation.statistics.judge` without a margin: the 95 % interval of the paired difference
    to the incumbent lies above 0. Where two candidates cost the same, the one with the higher mean is tested first.
    """
    ranked = sorted(scored, key=lambda entry: (entry.candidate.cost, -_mean(entry.dice), entry.candidate.title))
    incumbent, comparisons = ranked[0], []
    for candidate in ranked[1:]:
        comparison = compare(candidate.candidate.title, candidate.dice, incumbent.candidate.title, incumbent.dice, seed)
        comparisons.append(comparison)
        incumbent = candidate if comparison.accepted else incumbent
    return incumbent, comparisons


def compare(candidate: str, candidate_dice: Sequence[float | None], incumbent: str,
            incumbent_dice: Sequence[float | None], seed: int = 0) -> Comparison:
    """Whether the candidate replaces the incumbent, by the Dice of each case."""
    difference = paired_difference(candidate_dice, incumbent_dice, seed)
    better = judge(difference, margin=0.0) == "better"
    return Comparison(incumbent=incumbent, candidate=candidate, difference=difference, accepted=better)


def _scored(dataset: CrossValidation, members: tuple[Contender, ...], scores: Sequence[CaseScore],
            grids: Sequence[Geometry]) -> Scored:
    cases = cases_of(dataset, members)
    candidate = Candidate(members=tuple(contender.member for contender in members), scores=summarize(scores, dataset.labels),
                          cost=sum(prediction_cost(contender.plan, contender.member, grids) for contender in members))
    dice = tuple(decision_dice(score, case.annotated) for score, case in zip(scores, cases, strict=True))
    return Scored(candidate, members, tuple(cases), dice)


def _score(case: CandidateCase) -> CaseScore:
    truth, geometry = case.read_truth()
    return score_case(truth, case.read_mask(), case.labels, geometry.spacing_mm, case.name, annotated=case.annotated)


def _mean(dice: Sequence[float | None]) -> float:
    known = [value for value in dice if value is not None]
    return sum(known) / len(known) if known else 0.0
