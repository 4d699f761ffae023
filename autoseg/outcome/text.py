"""The report of an outcome in words: a table of the models, what predicts, and what to doubt."""

from autoseg.evaluation.resampling import ScoreDifference
from autoseg.outcome.report import (
    NULL,
    ModelOfOutcome,
    OutcomeReport,
    above_chance,
    chance_of,
    order_of,
    with_interval,
)


def as_lines(report: OutcomeReport) -> list[str]:
    """All of it, for a terminal."""
    name = order_of(report.models[0].scores)[0] if report.models else "score"
    head = ("model", "reads", name, "shuffled outcomes", f"difference from {report.reference}")
    rows = [head, *(row_of(model) for model in report.models)]
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [title_of(report), "", *table, "", *sentences_of(report), *(f"note: {text}" for text in report.skipped),
            *(f"warning: {text}" for text in report.warnings)]


def title_of(report: OutcomeReport) -> str:
    counted = {"survival": f"{report.n_events} events", "category": f"{report.n_events} of the rarest category"}
    counts = ", ".join(filter(None, (f"{report.n_cases} cases", counted.get(report.spec.kind))))
    return (f"{report.dataset}, outcome {report.outcome} ({report.spec.kind}): {counts}, over {report.n_folds} folds of "
            f"{report.configuration} ({report.planner}), lesion {report.lesion!r}")


def row_of(model: ModelOfOutcome) -> tuple[str, ...]:
    """Name, blocks, score, control, difference: the texts of a row."""
    _, score, control = order_of(model.scores)
    shuffled = "–" if control.low is None or control.high is None else f"{control.low:.2f} to {control.high:.2f}"
    return (model.name, ", ".join(model.blocks) or "nothing", "–" if score.value is None else with_interval(score),
            shuffled + ("" if control.p is None else f", p {control.p:.3f}"),
            difference_text(model.against_reference[0]) if model.against_reference and score.value is not None else "–")


def difference_text(difference: ScoreDifference) -> str:
    if difference.difference is None:
        return difference.reason
    if difference.low is None or difference.high is None:
        return f"{difference.difference:+.3f}"
    return f"{difference.difference:+.3f} ({difference.low:+.3f} to {difference.high:+.3f})"


def sentences_of(report: OutcomeReport) -> list[str]:
    """Whether anything was learned, what predicts, and its control."""
    learned = [model for model in report.models if model.name != NULL]
    proven = [model.name for model in learned if above_chance(model.scores)]
    lines = []
    if learned:
        name, chance = order_of(learned[0].scores)[0], chance_of(learned[0].scores)
        lines.append(f"The interval of {len(proven)} of {len(learned)} models lies above a {name} of {chance:g}"
                     + (f": {', '.join(proven)}." if proven else
                        ": these data do not show that any of them knows the outcome."))
    if len(proven) > 1:
        lines.append("The best of several models looks better than it is: its interval does not count that it was chosen.")
    lines.append(f"What predicts: {report.predicts}. Why: {report.why}.")
    if report.refitted is not None:
        lines.append(f"Fitted anew to shuffled outcomes it has {with_interval(report.refitted)}"
                     + (": it should contain chance." if report.refitted.low is not None else "."))
    return lines
