"""A model judged on another dataset: what is written, and the same in words."""

from collections.abc import Sequence

from autoseg.base.version import __version__
from autoseg.evaluation.metrics import METRICS
from autoseg.evaluation.table import text_table
from autoseg.evaluation.two_samples import MeanDifference, mean_difference
from autoseg.evaluation.types import CaseScore, Mean, Summary
from autoseg.interop.matching import LabelMatch
from planners.schema.base import Frozen, versioned

MEAN = "mean"


class Shift(Frozen):
    """One metric of one label (or `mean`, over labels): the mean over the external cases, that of the model's own
    cross-validation (None: not known), and their difference. The cases are different ones, so nothing is paired.
    """

    label: str
    metric: str
    external: Mean
    internal: Mean | None
    difference: MeanDifference | None


class ExternalValidation(Frozen):
    """The scores of a model on the labelled cases of another dataset, beside those of its own cross-validation.

    `seen` are cases that the model was trained on, with the reason: they are not predicted. `warnings` say what is not
    certain about the channels.
    """

    schema_version: int = versioned(1)
    autoseg_version: str = __version__
    dataset: str
    on: str
    model: str
    identity: str  # a digest of the weights and of how they predict
    channels: dict[str, str | None]  # of the model -> of the other dataset
    labels: tuple[LabelMatch, ...]
    not_scored: tuple[str, ...]  # labels of the model without counterpart
    seen: dict[str, str]
    external: Summary
    internal: Summary | None
    internal_of: str
    shifts: tuple[Shift, ...]
    warnings: tuple[str, ...] = ()


def shifts_of(external: Summary, internal: Summary | None) -> tuple[Shift, ...]:
    """Every metric that has a better end, of each label and, of several labels, of their mean per case. Errors of volumes
    have a sign, so that neither end is better: their means are in the summaries alone.
    """
    shifts = []
    names = [label.name for label in external.labels]
    for metric in external.scoring.metrics:
        if METRICS[metric].better == "neither" or METRICS[metric].without_sign:
            continue
        for index, name in enumerate(names):
            own = None if internal is None else internal.labels[index].means[metric]
            shifts.append(_shift(name, metric, external.labels[index].means[metric], own,
                                 _values(external, index, metric), _values(internal, index, metric)))
        if len(names) > 1:
            own = None if internal is None else internal.foreground_means[metric]
            shifts.append(_shift(MEAN, metric, external.foreground_means[metric], own,
                                 _case_means(external, metric), _case_means(internal, metric)))
    return tuple(shifts)


def _shift(label: str, metric: str, external: Mean, internal: Mean | None, external_N: Sequence[float | None],
           internal_N: Sequence[float | None]) -> Shift:
    difference = None if internal is None else mean_difference(external_N, internal_N)
    return Shift(label=label, metric=metric, external=external, internal=internal, difference=difference)


def _values(summary: Summary | None, index: int, metric: str) -> list[float | None]:
    return [] if summary is None else [case.labels[index].value(metric) for case in summary.cases]


def _case_means(summary: Summary | None, metric: str) -> list[float | None]:
    """Of each case the mean over its labels that have the metric."""
    def of_case(case: CaseScore) -> float | None:
        known = [value for label in case.labels if (value := label.value(metric)) is not None]
        return sum(known) / len(known) if known else None

    return [] if summary is None else [of_case(case) for case in summary.cases]


def rows_of(result: ExternalValidation) -> list[tuple[str, str, str, str, str]]:
    """Label and metric, the external mean, the internal one, their difference and what it says, as texts."""
    titles = {match.name: match.title for match in result.labels}
    return [(f"{titles.get(shift.label, shift.label)}, {METRICS[shift.metric].heading}", _mean(shift, shift.external),
             _mean(shift, shift.internal), _difference(shift.difference), sentence_of(shift)) for shift in result.shifts]


def sentence_of(shift: Shift) -> str:
    """What the difference says, in words."""
    known = shift.difference
    if known is None or known.difference is None:
        return "no figure to compare with"
    if known.low is None or known.high is None:
        return "too few cases to say"
    if known.low <= 0 <= known.high:
        return "no difference was seen, and none is excluded"
    is_lower = known.high < 0
    is_worse = is_lower if METRICS[shift.metric].better == "higher" else not is_lower
    return "worse than in cross-validation" if is_worse else "better than in cross-validation"


def as_text(result: ExternalValidation) -> str:
    """The result as a table with what it rests on."""
    lines = [f"{result.dataset} ({result.model}) on {result.on}: {result.external.n_cases} cases"]
    lines += text_table([("", "external", "internal", "difference", "in words"), *rows_of(result)])
    lines.append(f"internal: {result.internal_of}; differences are of means over different cases, with 95 % intervals")
    return "\n".join([*lines, *remarks_of(result)])


def remarks_of(result: ExternalValidation) -> list[str]:
    """What must be known beside the figures."""
    remarks = [*result.warnings]
    if result.not_scored:
        remarks.append(f"not scored, because the other dataset has no such label: {', '.join(result.not_scored)}; --map can "
                       "say that one has another name there")
    if result.seen:
        first = next(iter(result.seen))
        remarks.append(f"{len(result.seen)} cases are left out, because the model was trained on them: "
                       f"{', '.join(list(result.seen)[:5])} ({first}: {result.seen[first]})")
    if result.external.faults:
        remarks.append(f"{len(result.external.faults)} cases have no score: {result.external.faults[0]}")
    return remarks


def _mean(shift: Shift, mean: Mean | None) -> str:
    if mean is None or mean.value is None:
        return "-"
    known = f" [{mean.low:.3f} to {mean.high:.3f}]" if mean.low is not None and mean.high is not None else ""
    return f"{mean.value:.3f}{known}" + (f" (n {mean.n})" if shift.label != MEAN else "")


def _difference(known: MeanDifference | None) -> str:
    if known is None or known.difference is None:
        return "-"
    interval = f" [{known.low:+.3f} to {known.high:+.3f}]" if known.low is not None and known.high is not None else ""
    return f"{known.difference:+.3f}{interval}"
