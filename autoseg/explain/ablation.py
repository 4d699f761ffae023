"""What each input of a model contributes, read from the Dice of the same cases with and without it.

Each input has a verdict, by the interval of the paired difference "with it less without it" (`compare.judge`):

    helps     above 0
    harms     below 0
    nothing   within the margin of +-0.01, whether or not it holds 0
    unclear   it holds 0 and reaches beyond the margin: the cases are too few, or too different, to say
    few       fewer than six cases have it

The conditions together are judged by two differences: with a case's own less without any, and with its own less with
another case's. They help where both say so. Where the own are no better than none, but another case's are worse than none
by more than the margin, the model follows them against the image and gains nothing: a `shortcut` is suspected. Where the
own are better than none but not than another case's, the second difference decides: the values carry nothing, the model
is only not used to their absence. That wrong values cost something is by itself the mark of any input that is used. A
leak, a column that knows the answer, looks like help; only a model trained without conditions can tell.
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
from planners.schema.base import Frozen

# What a row shows: all that a case has; less some channels; one optional channel; another case's conditions; none; less one.
Kind = Literal["all", "channels", "alone", "shuffled", "missing", "condition"]
Verdict = Literal["helps", "harms", "nothing", "unclear", "few", "shortcut"]

LEGEND = (
    "Each row has the cases that have what it withholds, and is compared with the same cases shown all that they have.",
    "Difference: Dice with all inputs less the row's, so above 0 where the withheld helps; 95 % bootstrap interval over "
    "cases; p of Wilcoxon's signed-rank test, not corrected for the number of rows.",
    "Dice: mean over the foreground names that the label or the prediction has; a case with neither is left out.",
    f"helps: the interval lies above 0. harms: below 0. does nothing: within +-{MARGIN:g}. No difference seen: it holds 0, "
    f"but is wider. Of fewer than {FEWEST_PAIRS} cases nothing is said.",
    "The conditions as a whole help where a case's own are better than none and than another case's. A shortcut is "
    f"suspected where its own are no better than none, but another's are worse than none by more than {MARGIN:g}. A leak (a "
    "column that knows the answer) looks like help: compare with a model trained without conditions.",
)

_VERDICT_OF: dict[str, Verdict] = {"better": "helps", "worse": "harms", "same": "nothing", "unclear": "unclear",
                                   "few": "few"}


class Row(Frozen):
    """One memory_plan to show the cases to the model: the Dice of each (None: not defined), their mean, and the difference
    "all that they have less this" (None of that row itself)."""

    name: str
    kind: Kind
    withheld: tuple[str, ...] = ()
    dice: dict[str, float | None]
    mean: BootstrapMean
    difference: PairedDifference | None = None


class Finding(Frozen):
    """What is to be said of an input, in a word and in a sentence; the differences are those that it rests on."""

    input: str
    verdict: Verdict
    sentence: str
    differences: dict[str, PairedDifference]


class Ablation(Frozen):
    """What each input of a trained fold contributes on its validation cases.

    `every_subset` says whether the rows have every set of optional channels, `permutations` in how many plans conditions
    were shuffled. `mirroring` says whether predictions are means over mirrored copies: where they are not, the first row
    may differ a little from the fold's own result.
    """

    schema_version: int = 1
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
    """A row of the Dice of some cases, compared with that of the same cases shown all that they have."""
    values = list(dice.values())
    difference = None if kind == "all" else paired_difference([full[case] for case in dice], values, seed)
    return Row(name=name, kind=kind, withheld=tuple(withheld), dice=dict(dice), mean=bootstrap_mean(values, seed),
               difference=difference)


def findings_of(rows: Sequence[Row], seed: int) -> tuple[Finding, ...]:
    """A finding an input: every channel, the conditions together, each of them."""
    found = [_of_one(row) for row in rows if row.kind == "channels" and len(row.withheld) == 1]
    by_kind = {row.kind: row for row in rows}
    if "missing" in by_kind:
        found.append(_of_conditions(by_kind["missing"], by_kind["shuffled"], seed))
    return (*found, *(_of_one(row) for row in rows if row.kind == "condition"))


def _of_one(row: Row) -> Finding:
    name, of = row.withheld[0], row.difference
    verdict = _VERDICT_OF[judge(of)]
    return Finding(input=name, verdict=verdict, sentence=_sentence(name, verdict, of), differences={"without": of})


def _sentence(name: str, verdict: Verdict, of: PairedDifference) -> str:
    if verdict == "few":
        return _too_few(name, of)
    if verdict == "nothing":
        return f"{name} does nothing: it changes the Dice by less than {MARGIN:g} ({_interval(of)})."
    if verdict == "unclear":
        return f"{name}: no difference was seen, but {of.n} cases cannot exclude one ({_interval(of)})."
    return (f"{name} {verdict}: with it the Dice is {abs(of.difference):.3f} {'higher' if verdict == 'helps' else 'lower'} "
            f"({_interval(of)}).")


def _of_conditions(missing: Row, shuffled: Row, seed: int) -> Finding:
    cases = list(shuffled.dice)
    wrong = paired_difference([missing.dice[case] for case in cases], list(shuffled.dice.values()), seed)
    over_none, over_wrong = missing.difference, shuffled.difference
    verdict = _verdict_of_conditions(over_none, over_wrong, wrong)
    sentence = _sentence_of_conditions(verdict, over_none, over_wrong, wrong)
    return Finding(input="conditions", verdict=verdict, sentence=sentence,
                   differences={"without": over_none, "shuffled": over_wrong, "missing_over_shuffled": wrong})


def _sentence_of_conditions(verdict: Verdict, over_none: PairedDifference, over_wrong: PairedDifference,
                            wrong: PairedDifference) -> str:
    if verdict == "few":
        return _too_few("The conditions", over_wrong)
    own = (f"Dice with a case's own less none {_signed(over_none)}, less another case's {_signed(over_wrong)}, "
           f"{over_wrong.n} cases")
    if verdict == "shortcut":
        return ("The conditions are suspected of being a shortcut: a case's own are no better than none, but the model "
                f"follows another case's against the image ({own}; none less another case's {_signed(wrong)}).")
    says = {"helps": "The conditions help", "harms": "The conditions harm", "nothing": "The conditions do nothing",
            "unclear": "The conditions: no difference was seen, but these cases cannot exclude one"}[verdict]
    more = ""
    if verdict in ("nothing", "unclear") and judge(over_none) == "better":
        more = (" It is not their values that count: another case's serve as well; the model is not used to a patient of "
                "whom nothing is known.")
    elif verdict == "helps" and _clear(wrong):
        more = (f" Wrong ones are worse than none ({_signed(wrong)}): see that they are entered rightly. Where the image "
                "alone should do, suspect a shortcut or a leak and compare with a model trained without them.")
    return f"{says} ({own}).{more}"


def _verdict_of_conditions(over_none: PairedDifference, over_wrong: PairedDifference, wrong: PairedDifference) -> Verdict:
    """By the three differences: own less none, own less another case's, none less another case's."""
    if judge(over_none) == "few" or judge(over_wrong) == "few":
        return "few"
    if judge(over_none) == "better":
        return _VERDICT_OF[judge(over_wrong)]
    if judge(over_none) != "worse" and judge(over_wrong) == "better" and _clear(wrong):
        return "shortcut"
    return _VERDICT_OF[judge(over_none)]


def _clear(of: PairedDifference) -> bool:
    return of.n >= FEWEST_PAIRS and of.low > MARGIN


def _interval(of: PairedDifference) -> str:
    return f"95 % interval {of.low:+.3f} to {of.high:+.3f}, {of.n} cases"


def _signed(of: PairedDifference) -> str:
    return f"{of.difference:+.3f} [{of.low:+.3f} to {of.high:+.3f}]"


def _too_few(name: str, of: PairedDifference) -> str:
    if of.n == 0:
        return f"{name}: no validation case tells, since none could be scored with and without."
    return (f"{name}: {of.n} case{'s' if of.n > 1 else ''} {'are' if of.n > 1 else 'is'} too few to say, {FEWEST_PAIRS} are "
            f"needed (mean difference {of.difference:+.3f}).")


def as_text(of: Ablation) -> str:
    """The rows as a table, then a sentence an input and how all of it is meant; Markdown that reads well as it is."""
    head = ["shown to the model", "n", "Dice", "with all", "difference", "95 % interval", "p"]
    lines = text_table([head, *(_cells(row) for row in of.rows)], markdown=True)
    notes = [*LEGEND, f"Predicted {'with' if of.mirroring else 'without'} mirroring; seed {of.seed}."]
    if of.permutations:
        notes.append(f"Shuffled: mean of {of.permutations} permutation{'s' if of.permutations > 1 else ''} of the cases "
                     "that have conditions; none keeps its own.")
    if not of.every_subset:
        notes.append("There are too many optional channels for every subset: each is left out once, and kept alone once.")
    return "\n".join([
        f"# {of.dataset} {of.configuration} fold {of.fold}: what each input contributes", "", *lines, "",
        *(f"- {finding.sentence}" for finding in of.findings), "",
        *(f"- not scored: {fault}" for fault in of.unscored), *([""] if of.unscored else []), *notes])


def _cells(row: Row) -> list[str]:
    """`n` counts the values of the row's mean, or the pairs of its difference; what was not defined stands in brackets."""
    of = row.difference
    if of is None:
        n, means = row.mean, (_three(row.mean.mean), "")
        rest = ["", f"({_three(row.mean.low)} to {_three(row.mean.high)})", ""]
    else:
        n, means = of, (_three(of.mean_b), _three(of.mean_a))
        p = "-" if of.p_wilcoxon is None else "<0.001" if of.p_wilcoxon < 0.001 else f"{of.p_wilcoxon:.3f}"
        rest = [_three(of.difference, "+"), "-" if of.low is None else f"{of.low:+.3f} to {of.high:+.3f}", p]
    count = f"{n.n} ({n.n_left_out} out)" if n.n_left_out else str(n.n)
    return [row.name, count, *means, *rest]


def _three(value: float | None, sign: str = "") -> str:
    return "-" if value is None else f"{value:{sign}.3f}"
