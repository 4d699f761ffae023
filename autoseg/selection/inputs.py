"""Which inputs pay: the rule that chooses among sets of inputs, and what it was decided on: `inputs.json`.

The best is the candidate with the highest mean Dice. Chosen is the one that needs the fewest inputs among those that are
not significantly worse than the best (Wilcoxon's signed-rank test, corrected by Holm for the number of candidates) and
whose mean difference to it is above -0.01.
"""

from collections.abc import Mapping

from pydantic import Field

from autoseg.evaluation.statistics import (
    FEWEST_PAIRS,
    MARGIN,
    BootstrapMean,
    PairedDifference,
    bootstrap_mean,
    holm,
    paired_difference,
)
from autoseg.evaluation.table import text_table
from planners.rules.input_sets import InputSet
from planners.schema.base import Frozen, versioned
from planners.schema.names import Name
from planners.schema.plan import Plan

SIGNIFICANT = 0.05
TOGETHER = " & "  # between the sets of a late fusion

Dice = tuple[float | None, ...]


class InputScore(Frozen):
    """A set of inputs, or two whose probabilities are averaged; `n_inputs` are those that a patient needs.

    `dice` is of each case, as `selection.cases.decision_dice`. `difference` is to the best candidate (this one less the
    best), `p` its p-value corrected for the number of candidates; None of the best itself.
    """

    sets: tuple[str, ...] = Field(min_length=1, max_length=2)
    n_inputs: int
    dice: Dice
    mean: BootstrapMean
    difference: PairedDifference | None = None
    p: float | None = None
    is_as_good: bool = True

    @property
    def title(self) -> str:
        return TOGETHER.join(self.sets)


class InputComparison(Frozen):
    """A comparison of sets of inputs: what was asked for, the plan from which all sets are planned, and the scores.

    Without `scores` it was started and not decided. `planners` says of each set under which name it was trained.
    """

    schema_version: int = versioned(1)
    dataset: str
    configuration: Name
    folds: tuple[int, ...]
    seed: int
    changes: tuple[str, ...] = ()
    total_seconds: float | None = None
    budget_seconds: float | None = None
    memory_bytes: int | None = None
    dataset_digest: str
    plan: Plan
    sets: tuple[InputSet, ...]
    planners: dict[str, Name]
    late: bool = False
    failed: dict[str, str] = Field(default_factory=dict)  # set -> why it could not be scored
    left_out: dict[str, str] = Field(default_factory=dict)  # late fusion -> why it is no candidate
    seconds: dict[str, float] = Field(default_factory=dict)  # set -> that all its folds took
    cases: tuple[str, ...] = ()
    scores: tuple[InputScore, ...] = ()
    chosen: str = ""

    def score(self, title: str) -> InputScore:
        return next(score for score in self.scores if score.title == title)

    @property
    def best(self) -> InputScore:
        return next(score for score in self.scores if score.difference is None)


def judge_inputs(dice: Mapping[tuple[str, ...], Dice], sizes: Mapping[tuple[str, ...], int], seed: int = 0
                 ) -> tuple[list[InputScore], InputScore]:
    """The score of every candidate (the sets that it consists of -> the Dice of each case), and the one that is chosen.

    `sizes` are the inputs that each needs. Of equally many inputs one model is simpler than two; then the higher mean
    counts. Where there are too few cases for any test, the margin alone decides. Raises ValueError without a candidate that
    has a Dice.
    """
    means = {sets: bootstrap_mean(values, seed) for sets, values in dice.items()}
    known = [sets for sets, mean in means.items() if mean.mean is not None]
    if not known:
        raise ValueError("no candidate has a Dice")
    best = max(known, key=lambda sets: (means[sets].mean or 0.0, -sizes[sets], -len(sets)))
    differences = {sets: None if sets == best else paired_difference(dice[sets], dice[best], seed) for sets in dice}
    corrected = dict(zip(dice, holm([None if difference is None else difference.p_wilcoxon
                                     for difference in differences.values()]), strict=True))
    scores = [InputScore(sets=sets, n_inputs=sizes[sets], dice=dice[sets], mean=means[sets], difference=differences[sets],
                         p=corrected[sets], is_as_good=_is_as_good(differences[sets], corrected[sets]))
              for sets in dice]
    as_good = [score for score in scores if score.is_as_good]
    return scores, min(as_good, key=lambda score: (score.n_inputs, len(score.sets), -(score.mean.mean or 0.0)))


def _is_as_good(difference: PairedDifference | None, p: float | None) -> bool:
    if difference is None:
        return True
    if difference.difference is None or difference.difference <= -MARGIN:
        return False
    is_significant = difference.n >= FEWEST_PAIRS and p is not None and p < SIGNIFICANT
    return difference.difference >= 0 or not is_significant


def reasons(comparison: InputComparison) -> list[str]:
    """Why this candidate was chosen, and which inputs are left out, in sentences with their figures."""
    chosen, best = comparison.score(comparison.chosen), comparison.best
    n = len(comparison.cases)
    lines = [f"{chosen.title}: mean Dice {_number(chosen.mean.mean)} over {n} validation cases of "
             f"{len(comparison.folds)} folds"]
    if chosen == best:
        lines.append("it has the highest mean Dice, and no candidate with fewer inputs is as good")
    else:
        lines.append(f"it is as good as {best.title}, which has the highest mean Dice ({_number(best.mean.mean)}), and "
                     f"simpler: {_difference(chosen)} to it")
    names = {each.title: each for each in comparison.sets}
    taken = {name for title in chosen.sets for name in (*names[title].channels, *names[title].conditions)}
    for name in dict.fromkeys(name for each in comparison.sets for name in (*each.channels, *each.conditions)):
        if name not in taken:
            lines.append(_left_out(name, comparison, names))
    if n < FEWEST_PAIRS:
        lines.append(f"with fewer than {FEWEST_PAIRS} cases no test is significant: the margin of {MARGIN} alone decides")
    return lines


def _left_out(name: str, comparison: InputComparison, names: Mapping[str, InputSet]) -> str:
    """What the best candidate with an input reaches, against the one that was chosen without it."""
    having = [score for score in comparison.scores if score.mean.mean is not None
              and any(name in (*names[title].channels, *names[title].conditions) for title in score.sets)]
    if not having:
        return f"{name} is left out: no set with it could be scored"
    best = max(having, key=lambda score: score.mean.mean or 0.0)
    chosen = comparison.score(comparison.chosen)
    gain = paired_difference(best.dice, chosen.dice, comparison.seed)
    return (f"{name} does not pay and is left out: the best candidate with it, {best.title}, has {_number(best.mean.mean)}, "
            f"{_signed(gain)} to the chosen one")


def as_text(comparison: InputComparison) -> str:
    """The candidates, the highest mean first, and why one was chosen."""
    rows = [["  inputs", "n inputs", "Dice", "to the best", "p (Holm)", ""]]
    for score in sorted(comparison.scores, key=lambda score: -(score.mean.mean or 0.0)):
        rows.append([f"{'*' if score.title == comparison.chosen else ' '} {score.title}", str(score.n_inputs),
                     _number(score.mean.mean), "best" if score.difference is None else _difference(score),
                     "-" if score.p is None else f"{score.p:.3f}", "" if score.is_as_good else "worse"])
    lines = [f"{comparison.dataset} {comparison.configuration}: {len(comparison.scores)} candidates on "
             f"{len(comparison.cases)} validation cases of folds {', '.join(map(str, comparison.folds))}", "",
             *text_table(rows), "", "chosen:", *(f"  {reason}" for reason in reasons(comparison))]
    lines += [f"not scored: {title}: {why}" for title, why in {**comparison.failed, **comparison.left_out}.items()]
    return "\n".join(lines)


def _difference(score: InputScore) -> str:
    return "-" if score.difference is None else _signed(score.difference)


def _signed(difference: PairedDifference) -> str:
    if difference.difference is None:
        return "no case in common"
    interval = "" if difference.low is None else f" ({difference.low:+.4f} to {difference.high:+.4f})"
    return f"{difference.difference:+.4f}{interval}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
