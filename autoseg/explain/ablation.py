"""What each input of a model contributes, read from the Dice of the same cases with and without it.

Each input has a verdict. It follows from the interval of the paired difference "with the input minus without it"
(`evaluation.statistics.judge`):

    helps     the interval lies above 0
    harms     it lies below 0
    nothing   it lies within the margin of +-0.01, whether or not it holds 0
    unclear   it holds 0 and reaches beyond the margin: the cases are too few or too different
    few       fewer than six cases have the input

The conditions together are judged by two differences: own conditions minus none, and own conditions minus those of another
case. They help where both differences say so. Where the own conditions are better than none, but not better than those of
another case, the second difference decides: the values do not help, the model is only not used to missing conditions. A
`shortcut` is suspected where the own conditions are no better than none, but those of another case are worse than none by
more than the margin: the model then follows the conditions against the image and gains nothing.

Wrong values reduce the Dice of any model that uses its conditions; this alone is no fault. A leak, which is a column that
knows the answer, looks like help. Only the comparison with a model trained without conditions can show it.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from autoseg.base.version import __version__
from autoseg.evaluation.statistics import (
    FEWEST_PAIRS,
    MARGIN,
    BootstrapMean,
    PairedDifference,
    bootstrap_mean,
    judge,
    paired_difference,
)
from autoseg.evaluation.table import text_table
from planners.schema.base import Frozen, versioned

# Inputs of a row: all; without some channels; one optional channel; another case's conditions; none; without one.
Kind = Literal["all", "channels", "alone", "shuffled", "missing", "condition"]
Verdict = Literal["helps", "harms", "nothing", "unclear", "few", "shortcut"]

LEGEND = (
    "A row covers the cases that have the inputs it withholds. It is compared with the same cases shown with all inputs.",
    "Difference: Dice with all inputs minus Dice of the row; it is above 0 where the withheld inputs help. 95 % bootstrap "
    "interval over cases; p of Wilcoxon's signed-rank test, not corrected for the number of rows.",
    "Dice: mean over the foreground names that the label or the prediction has; a case with neither is left out.",
    f"helps: the interval lies above 0. harms: below 0. does nothing: within +-{MARGIN:g}. No difference seen: it holds 0 "
    f"and is wider. With fewer than {FEWEST_PAIRS} cases there is no verdict.",
    "The conditions together help where a case's own are better than none and better than another case's. A shortcut is "
    f"suspected where the own are no better than none, but another case's are worse than none by more than {MARGIN:g}. A "
    "leak (a column that knows the answer) looks like help: compare with a model trained without conditions.",
)

_VERDICT_OF: dict[str, Verdict] = {"better": "helps", "worse": "harms", "same": "nothing", "unclear": "unclear",
                                   "few": "few"}


class Row(Frozen):
    """The Dice of cases shown with some of their inputs (None: not defined), their mean, and the paired difference.

    The difference is Dice with all inputs minus Dice of the row; the row with all inputs has none.
    """

    name: str
    kind: Kind
    withheld: tuple[str, ...] = ()
    dice: dict[str, float | None]
    mean: BootstrapMean
    difference: PairedDifference | None = None


class Finding(Frozen):
    """The verdict on an input as a word and as a sentence, with the differences behind it."""

    input: str
    verdict: Verdict
    sentence: str
    differences: dict[str, PairedDifference]


class Ablation(Frozen):
    """What each input of a trained fold contributes on its validation cases.

    `every_subset` says whether there is a row for every set of optional channels. `permutations` is the number of times
    that conditions were shuffled. `mirroring` says whether predictions are means over mirrored copies; without it the first
    row may differ a little from the result of the fold.
    """

    schema_version: int = versioned(1)
    autoseg_version: str = __version__
    dataset: str
    planner: str
    configuration: str
    fold: int | str
    seed: int
    mirroring: bool
    every_subset: bool
    permutations: int
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    unscored: tuple[str, ...] = ()


def row_of(name: str, kind: Kind, withheld: Sequence[str], dice: Mapping[str, float | None],
           full: Mapping[str, float | None], seed: int) -> Row:
    """A row with the Dice of some cases, compared with the same cases shown with all inputs."""
    values = list(dice.values())
    difference = None if kind == "all" else paired_difference([full[case] for case in dice], values, seed)
    return Row(name=name, kind=kind, withheld=tuple(withheld), dice=dict(dice), mean=bootstrap_mean(values, seed),
               difference=difference)


def findings_of(rows: Sequence[Row], seed: int) -> tuple[Finding, ...]:
    """One finding per input: each optional channel, the conditions together, and each condition."""
    findings = [_input_finding(row) for row in rows if row.kind == "channels" and len(row.withheld) == 1]
    by_kind = {row.kind: row for row in rows}
    if "missing" in by_kind:
        findings.append(_conditions_finding(by_kind["missing"], by_kind["shuffled"], seed))
    return (*findings, *(_input_finding(row) for row in rows if row.kind == "condition"))


def _input_finding(row: Row) -> Finding:
    name, without = row.withheld[0], _difference_of(row)
    verdict = _VERDICT_OF[judge(without)]
    return Finding(input=name, verdict=verdict, sentence=_sentence(name, verdict, without), differences={"without": without})


def _difference_of(row: Row) -> PairedDifference:
    if row.difference is None:
        raise ValueError(f"the row {row.name!r} is compared with nothing")
    return row.difference


def _sentence(name: str, verdict: Verdict, without: PairedDifference) -> str:
    if verdict == "few" or without.difference is None:
        return _too_few(name, without)
    if verdict == "nothing":
        return f"{name} does nothing: it changes the Dice by less than {MARGIN:g} ({_interval(without)})."
    if verdict == "unclear":
        return f"{name}: no difference was seen, but {without.n} cases cannot exclude one ({_interval(without)})."
    return (f"{name} {verdict}: with it the Dice is {abs(without.difference):.3f} "
            f"{'higher' if verdict == 'helps' else 'lower'} ({_interval(without)}).")


def _conditions_finding(missing: Row, shuffled: Row, seed: int) -> Finding:
    cases = list(shuffled.dice)
    wrong = paired_difference([missing.dice[case] for case in cases], list(shuffled.dice.values()), seed)
    over_none, over_wrong = _difference_of(missing), _difference_of(shuffled)
    verdict = _verdict_of_conditions(over_none, over_wrong, wrong)
    sentence = _sentence_of_conditions(verdict, over_none, over_wrong, wrong)
    return Finding(input="conditions", verdict=verdict, sentence=sentence,
                   differences={"without": over_none, "shuffled": over_wrong, "missing_over_shuffled": wrong})


def _sentence_of_conditions(verdict: Verdict, over_none: PairedDifference, over_wrong: PairedDifference,
                            wrong: PairedDifference) -> str:
    if verdict == "few":
        return _too_few("The conditions", over_wrong)
    own = (f"Dice with a case's own minus none {_signed(over_none)}, minus another case's {_signed(over_wrong)}, "
           f"{over_wrong.n} cases")
    if verdict == "shortcut":
        return ("The conditions are suspected of being a shortcut: a case's own are no better than none, but the model "
                f"follows another case's against the image ({own}; none minus another case's {_signed(wrong)}).")
    statement = {"helps": "The conditions help", "harms": "The conditions harm", "nothing": "The conditions do nothing",
                 "unclear": "The conditions: no difference was seen, but these cases cannot exclude one"}[verdict]
    more = ""
    if verdict in ("nothing", "unclear") and judge(over_none) == "better":
        more = (" Their values do not matter, since another case's conditions are as good: the model is only not used to "
                "patients without conditions.")
    elif verdict == "helps" and _clear(wrong):
        more = (f" Wrong ones are worse than none ({_signed(wrong)}): check that they are entered correctly. Where the "
                "image alone should suffice, compare with a model trained without them: a shortcut or a leak is possible.")
    return f"{statement} ({own}).{more}"


def _verdict_of_conditions(over_none: PairedDifference, over_wrong: PairedDifference, wrong: PairedDifference) -> Verdict:
    """By the three differences: own minus none, own minus another case's, none minus another case's."""
    if judge(over_none) == "few" or judge(over_wrong) == "few":
        return "few"
    if judge(over_none) == "better":
        return _VERDICT_OF[judge(over_wrong)]
    if judge(over_none) != "worse" and judge(over_wrong) == "better" and _clear(wrong):
        return "shortcut"
    return _VERDICT_OF[judge(over_none)]


def _clear(difference: PairedDifference) -> bool:
    return difference.n >= FEWEST_PAIRS and difference.low is not None and difference.low > MARGIN


def _interval(paired: PairedDifference) -> str:
    return f"95 % interval {paired.low:+.3f} to {paired.high:+.3f}, {paired.n} cases"


def _signed(paired: PairedDifference) -> str:
    return f"{paired.difference:+.3f} [{paired.low:+.3f} to {paired.high:+.3f}]"


def _too_few(name: str, paired: PairedDifference) -> str:
    n = paired.n
    if n == 0:
        return f"{name}: nothing can be said, because no validation case could be scored with it and without it."
    return (f"{name}: {n} case{'s' if n > 1 else ''} {'are' if n > 1 else 'is'} too few to say, {FEWEST_PAIRS} are "
            f"needed (mean difference {paired.difference:+.3f}).")


def as_text(ablation: Ablation) -> str:
    """The rows as a table, one sentence per input, and how to read both, as Markdown."""
    head = ["shown to the model", "n", "Dice", "with all", "difference", "95 % interval", "p"]
    lines = text_table([head, *(_cells(row) for row in ablation.rows)], markdown=True)
    notes = [*LEGEND, f"Predicted {'with' if ablation.mirroring else 'without'} mirroring; seed {ablation.seed}."]
    if ablation.permutations:
        notes.append(f"Shuffled: mean of {ablation.permutations} permutation{'s' if ablation.permutations > 1 else ''} of "
                     "the cases that have conditions; none keeps its own.")
    if not ablation.every_subset:
        notes.append("There are too many optional channels for every subset: each is left out once, and kept alone once.")
    return "\n".join([
        f"# {ablation.dataset} {ablation.configuration} fold {ablation.fold}: what each input contributes", "", *lines, "",
        *(f"- {finding.sentence}" for finding in ablation.findings), "",
        *(f"- not scored: {fault}" for fault in ablation.unscored), *([""] if ablation.unscored else []), *notes])


def _cells(row: Row) -> list[str]:
    """`n` is the number of values of the mean, or of pairs of the difference; in brackets those that are not defined."""
    mean, paired = row.mean, row.difference
    if paired is None:
        return [row.name, _count(mean.n, mean.n_left_out), _three(mean.mean), "", "",
                f"({_three(mean.low)} to {_three(mean.high)})", ""]
    p = "-" if paired.p_wilcoxon is None else "<0.001" if paired.p_wilcoxon < 0.001 else f"{paired.p_wilcoxon:.3f}"
    interval = "-" if paired.low is None else f"{paired.low:+.3f} to {paired.high:+.3f}"
    return [row.name, _count(paired.n, paired.n_left_out), _three(paired.mean_b), _three(paired.mean_a),
            _three(paired.difference, "+"), interval, p]


def _count(n: int, n_left_out: int) -> str:
    return f"{n} ({n_left_out} out)" if n_left_out else str(n)


def _three(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"
