"""Compare two sets of predictions of the same cases, by each metric and label.

A pair is one case and label for which both sets define the metric. The row `mean` compares, per case, the means over the
labels that both define. Volume errors are compared without their sign. One set is better where the 95 % bootstrap interval
of the difference lies beyond 0. Where the interval lies within the margin, the verdict is `same`. The margin is 0.01 for
shares, 0.1 mm, 0.1 lesions per case, and for mL 1 % of the true volume.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from autoseg.base.errors import UserError
from autoseg.base.version import __version__
from autoseg.evaluation.metrics import METRICS
from autoseg.evaluation.statistics import FEWEST_PAIRS, PairedDifference, Verdict, judge, paired_difference
from autoseg.evaluation.table import text_table
from autoseg.evaluation.types import CaseScore, LabelScore, Scoring, StoredScoring, Summary
from planners.schema.base import Frozen, versioned

MEAN = "mean"


class Row(Frozen):
    """One metric of one label (or `mean`, over labels): the paired difference a - b, and the verdict on a.

    `n_one_defined` pairs were left out, because only one of the two sets defines the metric there. For two empty masks it
    is not defined.
    """

    metric: str
    label: str
    difference: PairedDifference
    n_one_defined: int
    verdict: Verdict
    sentence: str


class PairedComparison(Frozen):
    """The comparison of two sets of predictions `a` and `b`, over the cases that both have scored."""

    schema_version: int = versioned(1)
    autoseg_version: str = __version__
    a: str
    b: str
    seed: int
    scoring: StoredScoring
    n_cases: int
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    rows: tuple[Row, ...]


def compare_summaries(a: Summary, b: Summary, name_a: str = "A", name_b: str = "B", *, seed: int = 0) -> PairedComparison:
    """Compare two sets of scores, paired by case name.

    Raises UserError where they have no case or no metric in common, different labels or true volumes, a case twice, or
    different scoring rules.
    """
    names = _common_labels(a, b, name_a, name_b)
    scoring = _common_scoring(a, b, name_a, name_b)
    cases_a, cases_b = _by_name(a, name_a), _by_name(b, name_b)
    cases = [name for name in cases_a if name in cases_b]
    if not cases:
        raise UserError("the two have no case in common", where=f"{name_a} and {name_b}",
                        found=f"{_some(cases_a)} against {_some(cases_b)}", do="compare predictions of the same cases")
    rows = []
    _check_truths(cases_a, cases_b, cases, names, f"{name_a} and {name_b}")
    truth_ml_NL = np.array([_values(cases_a[case], names, "truth_ml") for case in cases])
    truth_ml_L = np.nan_to_num(truth_ml_NL).sum(0) / np.maximum((~np.isnan(truth_ml_NL)).sum(0), 1)
    for metric in scoring.metrics:
        margin = METRICS[metric].margin
        margin_L = margin * truth_ml_L if METRICS[metric].unit == "mL" else np.full(len(names), margin)
        a_NL, b_NL = (np.array([_values(scores[case], names, metric) for case in cases]) for scores in (cases_a, cases_b))
        rows += [_row(metric, label, paired_difference(a_NL[:, index], b_NL[:, index], seed), margin_L[index],
                      _n_one_defined(a_NL[:, index], b_NL[:, index])) for index, label in enumerate(names)]
        if len(names) > 1:
            both_NL = ~(np.isnan(a_NL) | np.isnan(b_NL))
            mean = paired_difference(_mean_over_labels(a_NL, both_NL), _mean_over_labels(b_NL, both_NL), seed)
            rows.append(_row(metric, MEAN, mean, float(margin_L.mean()), 0))
    return PairedComparison(a=name_a, b=name_b, seed=seed, scoring=scoring, n_cases=len(cases), rows=tuple(rows),
                            only_a=tuple(name for name in cases_a if name not in cases_b),
                            only_b=tuple(name for name in cases_b if name not in cases_a))


def _check_truths(cases_a: Mapping[str, CaseScore], cases_b: Mapping[str, CaseScore], cases: Sequence[str],
                  names: Sequence[str], where: str) -> None:
    """Raise UserError where the true volumes differ: the two were scored against different labels."""
    differing = [case for case in cases
                 if not np.allclose(_values(cases_a[case], names, "truth_ml"), _values(cases_b[case], names, "truth_ml"),
                                    equal_nan=True)]
    if differing:
        raise UserError("the two were scored against different labels", where=where, found=", ".join(differing[:5]),
                        do="score both again with the same labels")


def _row(metric: str, label: str, difference: PairedDifference, margin: float, n_one_defined: int) -> Row:
    oriented, low, high = difference, difference.low, difference.high
    if METRICS[metric].better == "lower" and low is not None and high is not None:
        oriented = difference.model_copy(update={"low": -high, "high": -low})
    verdict = judge(oriented, margin)
    return Row(metric=metric, label=label, difference=difference, verdict=verdict, n_one_defined=n_one_defined,
               sentence=_sentence(metric, label, verdict, difference))


def _n_one_defined(a_N: np.ndarray, b_N: np.ndarray) -> int:
    return int((np.isnan(a_N) != np.isnan(b_N)).sum())


def _sentence(metric: str, label: str, verdict: Verdict, difference: PairedDifference) -> str:
    what = f"{_title(metric)} of {label}" if label != MEAN else f"{_title(metric)}, mean over labels"
    if verdict == "few":
        cases = "1 case is" if difference.n == 1 else f"{difference.n} cases are"
        return f"{what}: {cases} too few to say, {FEWEST_PAIRS} are needed"
    measured = f"A - B {_signed(difference.difference)}, 95 % interval {_interval(difference)}, {difference.n} cases"
    return {"better": f"{what}: A is better", "worse": f"{what}: B is better", "same": f"{what}: A and B are equally good",
            "unclear": f"{what}: no difference was seen, but these cases cannot exclude one"}[verdict] + f" ({measured})"


def _interval(difference: PairedDifference) -> str:
    return "-" if difference.low is None else f"{_signed(difference.low)} to {_signed(difference.high)}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 3) + 0.0:+.3f}"  # never -0.000


def _title(metric: str) -> str:
    return METRICS[metric].heading + (", absolute" if METRICS[metric].without_sign else "")


def _values(case: CaseScore, names: Sequence[str], metric: str) -> list[float]:
    """The metric of each label; NaN where it is not defined."""
    labels = {label.name: label for label in case.labels}
    return [_value(labels[name], metric) for name in names]


def _value(label: LabelScore, metric: str) -> float:
    value = label.value(metric)
    if value is None:
        return np.nan
    return abs(value) if METRICS[metric].without_sign else value


def _mean_over_labels(values_NL: np.ndarray, both_NL: np.ndarray) -> np.ndarray:
    n_N = both_NL.sum(1)
    total_N = np.where(both_NL, values_NL, 0).sum(1)
    return np.divide(total_N, n_N, out=np.full(len(n_N), np.nan), where=n_N > 0)


def _by_name(summary: Summary, where: str) -> dict[str, CaseScore]:
    seen: dict[str, str] = {}
    for case in summary.cases:
        if case.name.lower() in seen:
            raise UserError("two scores belong to one case", where=where, found=f"{seen[case.name.lower()]} and {case.name}",
                            expected="one score per case")
        seen[case.name.lower()] = case.name
    return {case.name: case for case in summary.cases}


def _common_labels(a: Summary, b: Summary, name_a: str, name_b: str) -> list[str]:
    labels_a, labels_b = ([label.name for label in summary.labels] for summary in (a, b))
    lacking = [f"{name} (only {name_a})" for name in labels_a if name not in labels_b]
    lacking += [f"{name} (only {name_b})" for name in labels_b if name not in labels_a]
    if lacking:
        raise UserError("the two have different labels", where=f"{name_a} and {name_b}", found=", ".join(lacking),
                        do="score both with the same dataset.json")
    return labels_a


def _common_scoring(a: Summary, b: Summary, name_a: str, name_b: str) -> Scoring:
    """The metrics that both have, in the order of a. Raises UserError where they were measured by different rules."""
    where = f"{name_a} and {name_b}"
    metrics = tuple(metric for metric in a.scoring.metrics if metric in b.scoring.metrics
                    and METRICS[metric].better != "neither")
    if not metrics:
        raise UserError("the two have no metric in common", where=where,
                        found=f"{', '.join(a.scoring.metrics)} against {', '.join(b.scoring.metrics)}",
                        do="score both with the same --metrics")
    rules = ["empty"]
    rules += ["nsd_tolerance_mm", "nsd_tolerance_mm_of"] if "nsd" in metrics else []
    rules += ["surface"] if any(METRICS[metric].group == "surface" for metric in metrics) else []
    rules += ["detection"] if any(METRICS[metric].group == "detection" for metric in metrics) else []
    for rule in rules:
        if getattr(a.scoring, rule) != getattr(b.scoring, rule):
            raise UserError("the two were scored by different rules", where=where,
                            found=f"{rule}: {getattr(a.scoring, rule)} against {getattr(b.scoring, rule)}",
                            do="score both with the same options")
    return a.scoring.model_copy(update={"metrics": metrics})


def _some(names: Sequence[str] | dict) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") if names else "no case"


def as_text(comparison: PairedComparison) -> str:
    """The rows as a table, then a sentence per mean (or per row where there is one label), and what was left out."""
    cells = [["metric", "label", "n", "A", "B", "A - B", "95 % interval", "p", "A is"], *map(_cells, comparison.rows)]
    means = [row for row in comparison.rows if row.label == MEAN]
    lines = [f"A: {comparison.a}", f"B: {comparison.b}", "", *text_table(cells), "",
             *(f"- {row.sentence}" for row in means or comparison.rows), "",
             f"{comparison.n_cases} cases in both; two-sided p of Wilcoxon's signed-rank test, not corrected for the number "
             "of rows"]
    lines += [f"only in {which}, left out: {_some(names)}"
              for which, names in (("A", comparison.only_a), ("B", comparison.only_b)) if names]
    if any(row.n_one_defined for row in comparison.rows):
        lines.append("pairs in brackets were left out, since only one of A and B defines the metric there (for example a "
                     "false alarm in a case without the label); with --empty one they count")
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    difference = row.difference
    p = difference.p_wilcoxon
    words = {"better": "better", "worse": "worse", "same": "as good", "unclear": "unclear", "few": "too few"}[row.verdict]
    means = ["-" if value is None else f"{value:.3f}" for value in (difference.mean_a, difference.mean_b)]
    n = f"{difference.n} ({row.n_one_defined})" if row.n_one_defined else str(difference.n)
    return [_title(row.metric), row.label, n, *means, _signed(difference.difference), _interval(difference),
            "-" if p is None else "<0.001" if p < 0.001 else f"{p:.3f}", words]
