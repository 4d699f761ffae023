"""The scores of each configuration with intervals, pictures of cases, and failures."""

from autoseg.evaluation.metrics import METRICS
from autoseg.evaluation.statistics import bootstrap_mean
from autoseg.evaluation.types import CaseScore, mean
from autoseg.reporting.html.blocks import Absent, Block, Bullets, Cell, Figures, Heading, Legend, Section, Table, Text, table
from autoseg.reporting.html.cases import MODELS_SHOWN, CasePictures
from autoseg.reporting.html.figures_scores import dice_figure
from autoseg.reporting.html.gather import Model, ReportData
from autoseg.reporting.html.words import metric_title, number, short, with_interval


def scores_section(data: ReportData) -> Section:
    """Scores per configuration and label, over the validation cases of all finished folds."""
    scored = [model for model in data.models if model.cases]
    if not scored:
        return Section("scores", "Scores", (Absent("No fold is finished: there are no scores.", _train(data)),))
    blocks: list[Block] = [
        Text("Each case was predicted by the fold that was not trained on it. Intervals are 95 % bootstrap intervals over "
             "cases. The mean foreground Dice is the mean over labels per case, then the mean over cases. A label that is "
             "neither in the truth nor in the prediction of a case is left out of the mean and counted as empty.",
             quiet=True),
        overview(data)]
    for model in scored:
        names = [label.name for label in model.cases[0].labels]
        blocks += [Heading(model.title), _labels_table(model, names),
                   Figures((dice_figure(model.cases, names, model.title),), columns=2)]
    return Section("scores", "Scores", tuple(blocks))


def overview(data: ReportData) -> Table:
    """One row per configuration: folds, cases, mean foreground Dice with its interval."""
    rows = []
    for model in data.models:
        dice = bootstrap_mean([case.mean_dice for case in model.cases])
        folds = sum(fold.name.isdecimal() and fold.result is not None for fold in model.folds)
        rows.append((model.title, f"{folds} of {data.n_folds}", str(dice.n),
                     with_interval(dice) if dice.n else "–"))
    return table("Mean foreground Dice per configuration (0 to 1), with its 95 % interval over n cases. Compare only "
                 "configurations that were validated on the same cases.",
                 ("Configuration", "Finished folds", "n", "Dice (95 % interval)"), rows)


def label_rows(cases: tuple[CaseScore, ...], names: list[str], metrics: tuple[str, ...]) -> list[tuple[str, ...]]:
    """One row per label: n, empty, then each metric, with an interval where the metric says so."""
    rows = []
    for name in names:
        scores = [label for case in cases for label in case.labels if label.name == name
                  and label.annotated]  # a label that was not annotated in a case is part of no mean
        cells = []
        for metric in metrics:
            values = [score.value(metric) for score in scores]
            cells.append(with_interval(bootstrap_mean(values)) if METRICS[metric].shows_interval
                         else number(mean(values).value))
        n = sum(score.value(metrics[0]) is not None for score in scores)
        rows.append((name, str(n), str(sum(score.is_empty for score in scores)), *cells))
    return rows


def cases_section(data: ReportData, pictures: tuple[CasePictures, ...]) -> Section:
    """Best, median and worst cases in three planes."""
    if not any(model.cases for model in data.models):
        return Section("cases", "Cases", (Absent("No fold is finished: there is no case to show.", _train(data)),))
    if not pictures:
        return Section("cases", "Cases", (Absent("The images cannot be drawn: the raw dataset is not there or no case has "
                                                 "a Dice."),))
    blocks: list[Block] = [Text(
        "Best, median and worst validation case by the mean Dice over labels, as predicted by the fold (before any "
        "postprocessing). Lines are the truth; dashed, lighter lines are the prediction. Each plane is the slice with the "
        "most true foreground, cropped around it. The patient's left is on the right of axial and coronal planes.",
        quiet=True)]
    shown = ""
    for picture in pictures:
        if picture.model != shown:
            blocks.append(Heading(picture.model))
            shown = picture.model
        blocks.append(Figures(picture.figures, picture.title) if picture.figures else Absent(picture.fault))
        if picture.legend:
            blocks.append(Legend(picture.legend))
    if sum(bool(model.cases) for model in data.models) > MODELS_SHOWN:
        blocks.append(Text(f"Only the {MODELS_SHOWN} best configurations are shown, to keep the file small.", quiet=True))
    return Section("cases", "Cases", tuple(blocks))


def failures_section(data: ReportData) -> Section:
    """Files that could not be read, cases that could not be scored, and labels with a Dice of 0."""
    blocks: list[Block] = []
    if data.faults:
        blocks += [Text("Files that could not be read:"), Bullets(data.faults)]
    unscored = [f"{model.title}, fold {result.fold}: {fault}" for model in data.models for result in model.finished
                for fault in result.unscored]
    if unscored:
        blocks += [Text("Cases that were not scored, so that they are part of no mean:"), Bullets(tuple(unscored))]
    if any(model.cases for model in data.models):
        zeros = [row for model in data.models for row in _zeros(model)]
        blocks.append(table("Labels with a Dice of 0 in a validation case: missed completely, or predicted where there is "
                            "none. Volumes in mL.", ("Case", "Configuration", "Label", "Fault", "Truth", "Predicted"), zeros,
                            limit=100) if zeros else Text("No label of a validation case has a Dice of 0."))
    else:
        blocks.append(Absent("No fold is finished: there are no scores that could have failed.", _train(data)))
    if not data.faults and not unscored:
        blocks.append(Text("Every file was read and every validated case was scored."))
    return Section("failures", "Failures", tuple(blocks))


def _zeros(model: Model) -> list[tuple[str | Cell, ...]]:
    rows: list[tuple[str | Cell, ...]] = []
    for case in model.cases:
        for label in case.labels:
            if label.dice == 0:
                fault = ("not in the truth, but predicted" if label.truth_ml == 0
                         else "missed" if label.predicted_ml == 0 else "predicted elsewhere")
                rows.append((case.name, Cell(model.title), Cell(label.name), Cell(fault), short(label.truth_ml),
                             short(label.predicted_ml)))
    return rows


def _labels_table(model: Model, names: list[str]) -> Table:
    metrics = next(result.scores.scoring.metrics for result in model.finished if result.scores is not None)
    rows = label_rows(model.cases, names, metrics)
    dice = bootstrap_mean([case.mean_dice for case in model.cases])
    if len(names) > 1 and "dice" in metrics:
        rows.append(("mean foreground", str(dice.n), "", *(with_interval(dice) if metric == "dice" else ""
                                                           for metric in metrics)))
    return table(f"{model.title}: mean over n cases per label, with 95 % intervals in brackets.",
                 ("Label", "n", "Empty", *map(metric_title, metrics)), rows)


def _train(data: ReportData) -> str:
    trained = next(((model.configuration, model.planner) for model in data.models), None)
    planned = (name for plan in data.plans.values() for name in plan.configurations)
    configuration = trained[0] if trained else next(planned, "3d_fullres")
    planner = f" -p {trained[1]}" if trained else ""
    return f"autoseg_train {data.number} {configuration} 0{planner}"
