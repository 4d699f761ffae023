"""Outcomes of the patients: every model with its interval and its control, what predicts, and what to doubt."""

from autoseg.evaluation.outcome_scores import CategoryScores, SurvivalScores
from autoseg.outcome.report import NULL, ModelOfOutcome, OutcomeReport, chance_of, order_of
from autoseg.outcome.text import row_of, sentences_of, title_of
from autoseg.reporting.html.blocks import Block, Bullets, Facts, Figure, Figures, Heading, Section, Table, Text, table
from autoseg.reporting.html.figures_outcome import (
    forest_figure,
    outcome_calibration_figure,
    roc_figure,
    survival_figure,
)
from autoseg.reporting.html.gather import ReportData

_MOST_COEFFICIENTS = 15


def outcomes_section(data: ReportData) -> Section | None:
    """None where no outcome was fitted."""
    if not data.outcomes:
        return None
    blocks: list[Block] = [Text(
        "All scores are out-of-fold: a patient is estimated by models that saw neither the patient's outcome nor, in the "
        "segmentation, the patient's label. Features of the images come from predicted masks. An interval that contains "
        "chance does not show that a model knows anything.", quiet=True)]
    for report in data.outcomes:
        blocks += _outcome(report)
    return Section("outcomes", "Outcomes of the patients", tuple(blocks))


def _outcome(report: OutcomeReport) -> list[Block]:
    blocks: list[Block] = [Heading(f"{report.outcome} by {report.configuration} ({report.planner})"), Text(title_of(report)),
                           Facts(_facts(report)), _models(report)]
    figures = _figures(report)
    if figures:
        blocks.append(Figures(figures, columns=2))
    blocks.append(Bullets(tuple(sentences_of(report))))
    if report.warnings:
        blocks.append(Bullets(tuple(f"Warning: {warning}" for warning in report.warnings)))
    if report.skipped:
        blocks.append(Text("; ".join(report.skipped), quiet=True))
    coefficients = _coefficients(report)
    return blocks + ([coefficients] if coefficients is not None else [])


def _facts(report: OutcomeReport) -> tuple[tuple[str, str, str], ...]:
    name, score, _ = order_of(report.model(report.predicts).scores)
    value = "–" if score.value is None else f"{score.value:.2f}"
    between = "" if score.low is None or score.high is None else f"95 % interval {score.low:.2f} to {score.high:.2f}"
    return (("Patients", str(report.n_cases), f"{report.n_folds} folds"),
            ("Events" if report.spec.kind == "survival" else "Fewest in a category" if report.spec.kind == "category" else
             "Values", str(report.n_events), "what limits how much can be learned"),
            (f"{name} of what predicts", value, between or report.why), ("What predicts", report.predicts, report.why))


def _models(report: OutcomeReport) -> Table:
    name = order_of(report.models[0].scores)[0]
    return table(f"Models of {report.outcome}. {name} with its 95 % bootstrap interval over {report.n_cases} patients; the "
                 "central 95 % of the same score with shuffled outcomes, and the share of shuffles that do as well.",
                 ("Model", "Reads", name, "Shuffled outcomes", f"Difference from {report.reference}"),
                 [row_of(model) for model in report.models], texts=(1,))


def _figures(report: OutcomeReport) -> tuple[Figure, ...]:
    """All models beside each other; of the one that predicts, or else of the reference, what its scores stand for."""
    scores, first = [(model.name, order_of(model.scores)[1]) for model in report.models], report.models[0].scores
    drawn = [forest_figure(scores, order_of(first)[0], report.outcome, chance_of(first)), *_of_model(report, _shown(report))]
    return tuple(figure for figure in drawn if figure is not None)


def _shown(report: OutcomeReport) -> ModelOfOutcome:
    return report.model(report.reference if report.predicts == NULL else report.predicts)


def _of_model(report: OutcomeReport, model: ModelOfOutcome) -> list[Figure | None]:
    title, scores = f"{report.outcome} by {model.name}", model.scores
    if isinstance(scores, SurvivalScores):
        return [survival_figure(scores.risk_groups, title, report.spec.time),
                outcome_calibration_figure(scores.calibration, title, report.spec.time)]
    if isinstance(scores, CategoryScores):
        return [roc_figure(scores.categories, title), *(outcome_calibration_figure(category.calibration, f"{title}: "
                                                        f"{category.name}") for category in scores.categories[:1])]
    return []


def _coefficients(report: OutcomeReport) -> Table | None:
    """The coefficients of the model that predicts, the largest first; None where it has none that can be read."""
    coefficients = sorted(report.model(report.predicts).coefficients, key=lambda c: -abs(c.value))
    if not coefficients:
        return None
    rows = [(f"{c.feature}{f' ({c.category})' if c.category else ''}", f"{c.value:+.2f}", f"{c.low:+.2f} to {c.high:+.2f}",
             f"{c.p:.3f}") for c in coefficients]
    return table(f"Coefficients of {report.predicts} per standard deviation of the feature, fitted to all patients.",
                 ("Feature", "Coefficient", "95 % interval", "p"), rows, limit=_MOST_COEFFICIENTS)
