"""The rules of a race of configurations: successive halving at equal time, within a bound known beforehand.

Karnin et al. 2013, Jamieson and Talwalkar 2016. Candidates are compared on the validation cases of one fold, paired by case.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoseg.base.progress import duration
from autoseg.evaluation.statistics import MARGIN, judge, paired_difference
from autoseg.evaluation.types import mean
from autoseg.selection.race_types import Decision, PairTest, Race, Rung, RungScore
from planners.rules.budget import least_budget

SHARES = (1 / 8, 1 / 4, 1 / 2)  # of a fold's time; each doubles the one before, and the last ends before any decay begins
SHORTEST_RUNG_SECONDS = 20.0  # a start and its measuring take three to five seconds, at every rung
# The next doubling of the time is expected to bring this share of what the last one brought (docs/decisions/0020).
LATER_GAIN = 0.5


@dataclass(frozen=True)
class RaceTime:
    """The time of a fold, and the shares of it at which candidates are compared."""

    fold_seconds: float
    shares: tuple[float, ...]


def places(n_candidates: int, rung: int) -> int:
    """How many go on after a rung (0-based) at most: all after the first, then half of those before, but two as long as two
    are left.
    """
    n = n_candidates
    for _ in range(rung):
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


def decide(scores: Sequence[RungScore], earlier: Sequence[RungScore], step_flops: Mapping[str, float], n_places: int, *,
           is_last: bool, seed: int = 0) -> tuple[Decision, ...]:
    """Who goes on after a rung, in the order of `scores`; `earlier` are those of the rung before, none after the first.

    One rung does not show how fast a candidate learns, so nobody is dropped after the first, unless it is the last one too.
    From the second on the Dice is compared that each would have after twice the time (`expected`). The leader has the
    highest mean of it. Others are dropped where they are certainly behind: the whole 95 % interval of the paired difference
    is below 0, and not all of it within the margin that does not matter. Of those that are left at most `n_places` go on, by
    their mean; after the last rung the leader alone.
    """
    before = {score.candidate: score for score in earlier}
    foreseen = {score.candidate: expected(score, before.get(score.candidate)) for score in scores if not score.fault}
    ranked = sorted(foreseen, key=lambda name: (-_mean(foreseen[name]), step_flops[name], name))
    decisions = {score.candidate: Decision(candidate=score.candidate, kept=False, reason=f"it failed: {score.fault}")
                 for score in scores if score.fault}
    if not earlier and not is_last:
        reason = "one rung does not show how fast it learns"
        decisions |= {name: Decision(candidate=name, kept=True, reason=reason) for name in ranked}
    elif ranked:
        decisions[ranked[0]] = Decision(candidate=ranked[0], kept=True, reason="it leads")
        n_taken = 1
        for name in ranked[1:]:
            decision = _against(name, foreseen[name], foreseen[ranked[0]], seed)
            if decision.kept and (is_last or n_taken >= n_places):
                decision = decision.model_copy(update={"kept": False, "reason": _lost(is_last)})
            n_taken += decision.kept
            decisions[name] = decision
    return tuple(decisions[score.candidate] for score in scores)


def expected(score: RungScore, before: RungScore | None) -> tuple[float | None, ...]:
    """The Dice of each case after twice the time: that of now, and LATER_GAIN of what was gained since the rung before."""
    if before is None or not before.dice:
        return score.dice
    return tuple(now if now is None or then is None else min(1.0, now + LATER_GAIN * (now - then))
                 for now, then in zip(score.dice, before.dice, strict=True))


def _against(name: str, dice: Sequence[float | None], leading: Sequence[float | None], seed: int) -> Decision:
    difference = paired_difference(dice, leading, seed)
    behind = judge(difference, margin=MARGIN) == "worse"
    return Decision(candidate=name, kept=not behind, difference=difference,
                    reason="it is certainly behind, also with what it still gains: the whole 95 % interval of the expected "
                           "difference is below 0" if behind else "it is not certainly behind")


def _lost(is_last: bool) -> str:
    return "it is expected to be behind at the end" if is_last else "it is not among the best, and half of them go on"


def best_two(rung: Rung) -> tuple[str, ...]:
    """The two best of a rung, best first; fewer where fewer have a score."""
    ranked = sorted((score for score in rung.scores if not score.fault), key=lambda score: -_mean(score.dice))
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


def _mean(dice: Sequence[float | None]) -> float:
    value = mean(list(dice)).value
    return -1.0 if value is None else value
