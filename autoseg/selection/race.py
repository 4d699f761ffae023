"""The rules of a race of configurations: successive halving at equal time, within a bound known beforehand.

Karnin et al. 2013, Jamieson and Talwalkar 2016. Candidates are compared on the validation cases of one fold, paired by case.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoseg.base.progress import duration
from autoseg.evaluation.statistics import MARGIN, judge, paired_difference
from autoseg.selection.race_types import Decision, PairTest, Race, Rung, RungScore
from planners.rules.budget import least_budget

SHARES = (1 / 8, 1 / 4, 1 / 2)  # of a fold's time; each doubles the one before, and the last ends before any decay begins
SHORTEST_RUNG_SECONDS = 20.0  # a start and its measuring take three to five seconds, at every rung
# Large networks learn less in the first minutes. After the first rung the largest is dropped only where it is certain that
# it is behind by more than this.
WIDE_MARGIN = 0.05
_BELOW = "95 % interval of the difference is below"


@dataclass(frozen=True)
class RaceTime:
    """The time of a fold, and the shares of it at which candidates are compared."""

    fold_seconds: float
    shares: tuple[float, ...]


def places(n_candidates: int, rung: int) -> int:
    """How many go on after a rung (0-based) at most: half of those before, but two as long as two are left."""
    n = n_candidates
    for _ in range(rung + 1):
        n = min(n, max(2, math.ceil(n / 2)))
    return n


def worst_extra(n_candidates: int, shares: Sequence[float]) -> float:
    """The most that the losers can use up, in times of a fold: each place is held up to the last rung that allows it."""
    if n_candidates < 2:
        return 0.0
    left = [places(n_candidates, rung) for rung in range(len(shares) - 1)] + [1]
    before = [n_candidates, *left[:-1]]
    return sum((n - after) * share for n, after, share in zip(before, left, shares, strict=True))


def plan_time(seconds_left: float, n_candidates: int, rounds: int, least_seconds: float = 0.0) -> RaceTime:
    """The time of each fold, so that all folds and the costliest race fit, with `rounds` folds one after the other.

    Early rungs are left out where the costliest candidate could not learn anything by then: it takes `least_seconds`. The
    last rung is always there.
    """
    for first in range(len(SHARES)):
        shares = SHARES[first:] if n_candidates > 1 else ()
        fold_seconds = seconds_left / (rounds + worst_extra(n_candidates, shares))
        if not shares or shares[0] * fold_seconds >= max(SHORTEST_RUNG_SECONDS, least_seconds):
            break
    return RaceTime(fold_seconds, shares)


def admit(least_seconds: Mapping[str, float], seconds_left: float, rounds: int) -> tuple[RaceTime, dict[str, str]]:
    """The time of a race, and why candidates are left out: half a fold, where the last rung is, is too short for them.

    The costliest are left out first. The last one that is left needs no race, only a fold. Where not even that is there,
    all are left out.
    """
    admitted = sorted(least_seconds, key=lambda title: least_seconds[title])
    left_out: dict[str, str] = {}
    while admitted:
        costliest = admitted[-1]
        time = plan_time(seconds_left, len(admitted), rounds, least_seconds[costliest])
        available = time.fold_seconds * (time.shares[-1] if time.shares else 1.0)
        if least_seconds[costliest] <= available:
            return time, left_out
        admitted.pop()
        left_out[costliest] = (f"it takes {duration(least_seconds[costliest])} to learn anything, and has "
                               f"{duration(available)}")
    return RaceTime(0.0, ()), left_out


def decide(scores: Sequence[RungScore], step_flops: Mapping[str, float], n_places: int, *, is_first: bool, is_last: bool,
           seed: int = 0) -> tuple[Decision, ...]:
    """Who goes on after a rung, in the order of `scores`.

    The leader has the highest mean. Others are dropped where they are certainly behind it: the whole 95 % interval of the
    paired difference is below 0, and not all of it within the margin that does not matter. Of those that are left at most
    `n_places` go on, by their mean; after the last rung the leader alone. The largest keeps its place after the first rung,
    unless it is certainly behind by more than WIDE_MARGIN.
    """
    ranked = sorted((score for score in scores if not score.fault),
                    key=lambda score: (-_mean(score), step_flops[score.candidate], score.candidate))
    decisions = {score.candidate: Decision(candidate=score.candidate, kept=False, reason=f"it failed: {score.fault}")
                 for score in scores if score.fault}
    if ranked:
        leader = ranked[0]
        largest = max(ranked, key=lambda score: step_flops[score.candidate]).candidate if is_first and not is_last else ""
        decisions[leader.candidate] = Decision(candidate=leader.candidate, kept=True, reason="it leads")
        judged = [_against(score, leader, is_largest=score.candidate == largest, seed=seed) for score in ranked[1:]]
        judged.sort(key=lambda decision: decision.candidate != largest)  # it takes its place first
        n_taken = 1
        for decision in judged:
            if decision.kept and (is_last or n_taken >= n_places):
                decision = decision.model_copy(update={"kept": False, "reason": _lost(decision, is_last)})
            n_taken += decision.kept
            decisions[decision.candidate] = decision
    return tuple(decisions[score.candidate] for score in scores)


def _against(score: RungScore, leader: RungScore, *, is_largest: bool, seed: int) -> Decision:
    difference = paired_difference(score.dice, leader.dice, seed)
    behind = judge(difference, margin=MARGIN) == "worse"
    wide = behind and difference.high is not None and difference.high < -WIDE_MARGIN
    if is_largest:
        reason = (f"it is the largest, and certainly behind by more than {WIDE_MARGIN}: the whole {_BELOW} -{WIDE_MARGIN}"
                  if wide else "it is the largest, which starts slowly")
        return Decision(candidate=score.candidate, kept=not wide, reason=reason, difference=difference)
    return Decision(candidate=score.candidate, kept=not behind, difference=difference,
                    reason=f"it is certainly behind: the whole {_BELOW} 0" if behind else "it is not certainly behind")


def _lost(decision: Decision, is_last: bool) -> str:
    return "it is behind after the last rung" if is_last else "it is not among the best, and half of them go on"


def best_two(rung: Rung) -> tuple[str, ...]:
    """The two best of a rung, best first; fewer where fewer have a score."""
    ranked = sorted((score for score in rung.scores if not score.fault), key=lambda score: -_mean(score))
    return tuple(score.candidate for score in ranked[:2])


def pair_to_test(rungs: Sequence[Rung], winner: str) -> tuple[int, tuple[str, str]] | None:
    """A rung (0-based) and the two best of it, whose ensemble had as much time as the winner had at the next rung.

    None where the winner did not reach a second rung, or was alone before.
    """
    last = max((number for number, rung in enumerate(rungs) if rung.score(winner) is not None), default=0)
    if last == 0:
        return None
    best = best_two(rungs[last - 1])
    return (last - 1, (best[0], best[1])) if len(best) == 2 else None


def judge_pair(members: tuple[str, str], dice: Sequence[float | None], winner: RungScore, seed: int = 0) -> PairTest:
    """Whether two candidates together are certainly better than the winner, for the same time."""
    difference = paired_difference(dice, winner.dice, seed)
    return PairTest(members=members, winner=winner.candidate, dice=tuple(dice), difference=difference,
                    accepted=judge(difference, margin=0.0) == "better")


def leader_of(race: Race) -> str:
    """The candidate that was left after the last rung."""
    return next(decision.candidate for decision in race.rungs[-1].decisions if decision.kept)


def seconds_per_fold(seconds_left: float, paused_seconds: Sequence[float], n_cascades: int, n_folds: int, n_devices: int,
                     decay_share: float) -> float:
    """The time of every fold of the models that are trained after the race, so that all end with the total.

    For each winner `paused_seconds` is what its raced fold has trained already, and goes on from. Such a fold gets a whole
    decay, even where that is more than its share. On several devices the raced folds save no time: others run beside them.
    The folds of cascades start when those of the winners are done.
    """
    if n_devices > 1:
        rounds = [math.ceil(n_models * n_folds / n_devices) for n_models in (len(paused_seconds), n_cascades)]
        return seconds_left / sum(rounds)
    pool = seconds_left + sum(paused_seconds)
    n = (len(paused_seconds) + n_cascades) * n_folds
    share = pool / n
    for needed in sorted((least_budget(paused, decay_share) for paused in paused_seconds), reverse=True):
        if needed > share and n > 1:
            pool, n = pool - needed, n - 1
            share = pool / n
    return share


def _mean(score: RungScore) -> float:
    return -1.0 if score.mean_dice is None else score.mean_dice
