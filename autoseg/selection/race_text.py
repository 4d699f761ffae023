"""A race in words."""

from fractions import Fraction

from autoseg.base.progress import duration
from autoseg.selection.race_types import Race, Rung, RungScore


def as_lines(race: Race) -> list[str]:
    """What was compared, dropped and decided, and what the race cost: a line for each rung and decision."""
    lines = [f"{title} took no part: {why}" for title, why in race.left_out.items()]
    for rung in race.rungs:
        lines += rung_lines(rung)
    return [*lines, *outcome_lines(race)]


def rung_lines(rung: Rung) -> list[str]:
    """The scores at a rung, best first, and who was dropped."""
    ranked = sorted(rung.scores, key=lambda score: -1.0 if score.mean_dice is None else score.mean_dice, reverse=True)
    lines = [f"after {Fraction(rung.share)} of a fold's time ({duration(rung.seconds)}): {', '.join(map(_scored, ranked))}"]
    for decision in rung.decisions:
        if not decision.kept:
            difference = decision.difference
            by = ("" if difference is None or difference.difference is None else
                  f" ({difference.difference:+.3f} to the leader"
                  + ("" if difference.low is None else f", {difference.low:+.3f} to {difference.high:+.3f}") + ")")
            lines.append(f"{decision.candidate} was dropped: {decision.reason}{by}")
    return lines


def outcome_lines(race: Race) -> list[str]:
    """The winner, the test of an ensemble, the time of the folds and the cost of the race; nothing before it is decided."""
    if not race.winners or race.fold_seconds is None:
        return ["the race is not decided yet; the same command goes on with it"]
    lines = []
    if race.pair is not None:
        pair, difference = race.pair, race.pair.difference
        against = "" if difference.difference is None else f" ({difference.difference:+.3f}" + (
            ")" if difference.low is None else f", {difference.low:+.3f} to {difference.high:+.3f})")
        verdict = "certainly better" if pair.accepted else "not certainly better"
        lines.append(f"{' + '.join(pair.members)} together, half of the time each, against {pair.winner}: "
                     f"{verdict}{against}")
    if not race.rungs:
        lines.append(f"{race.winners[0]} was the only candidate: there was no race")
    elif len(race.winners) > 1:
        lines.append(f"{' and '.join(race.winners)} win together")
    else:
        lines.append(f"{race.winners[0]} wins")
    lines.append(f"each fold has {duration(race.fold_seconds)}; the race cost {duration(race.lost_seconds)}, "
                 f"{race.lost_seconds / race.total_seconds:.0%} of the total of {duration(race.total_seconds)}")
    return lines


def _scored(score: RungScore) -> str:
    if score.fault:
        return f"{score.candidate} failed"
    dice = "no Dice" if score.mean_dice is None else f"Dice {score.mean_dice:.3f}"
    return f"{score.candidate} {dice} ({score.iterations} iterations)"
