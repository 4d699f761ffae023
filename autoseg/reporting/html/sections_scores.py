"""How good every configuration is, with intervals; what was chosen and why; the cases and what failed."""

from autoseg.evaluation.statistics import bootstrap_mean
from autoseg.evaluation.types import CaseScore, mean
from autoseg.reporting.html.blocks import Absent, Block, Bullets, Cell, Figures, Heading, Legend, Section, Table, Text, table
from autoseg.reporting.html.cases import MODELS_SHOWN, CasePictures
from autoseg.reporting.html.figures_scores import dice_figure
from autoseg.reporting.html.gather import Gathered, Model
from autoseg.reporting.html.words import metric_title, number, short, with_interval

# Metrics whose intervals are drawn from resampled cases; of the others the mean is told.
_WITH_INTERVAL: tuple[str, ...] = ("dice", "hd95_mm", "nsd")


def scores_section(of: Gathered) -> Section:
    """Scores a configuration and a label, over the validation cases of all finished folds."""
    scored = [model for model in of.models if model.cases]
    if not scored:
        return Section("scores", "Scores", (Absent("No fold is finished: there are no scores.", _train(of)),))
    blocks: list[Block] = [
        Text("Each case was predicted by the fold that did not train on it. Intervals are 95 % bootstrap intervals over "
             "cases; the mean foreground is the mean over cases of each case's mean over labels. A label that neither the "
             "truth nor the prediction of a case has is left out of its mean and counted as empty.", quiet=True),
        overview(of)]
    for model in scored:
        names = [label.name for label in model.cases[0].labels]
        blocks += [Heading(model.title), _labels_table(model, names),
                   Figures((dice_figure(model.cases, names, model.title),), columns=2)]
    return Section("scores", "Scores", tuple(blocks))


def overview(of: Gathered) -> Table:
    """A row a configuration: folds, cases, mean foreground Dice with its interval."""
    rows = []
    for model in of.models:
        dice = bootstrap_mean([case.mean_dice for case in model.cases])
        folds = sum(fold.name.isdecimal() and fold.result is not None for fold in model.folds)
        rows.append((model.title, f"{folds} of {of.n_folds}", str(dice.n),
                     with_interval(dice) if dice.n else "–"))
    return table("Mean foreground Dice a configuration (0 to 1), with its 95 % interval over n cases. Configurations with "
                 "other cases are not to be compared by it.",
                 ("Configuration", "Finished folds", "n", "Dice (95 % interval)"), rows)


def label_rows(cases: tuple[CaseScore, ...], names: list[str], metrics: tuple[str, ...]) -> list[tuple[str, ...]]:
    """A row a label: n, empty, then each metric; of Dice, HD95 and NSD with an interval."""
    rows = []
    for name in names:
        scores = [label for case in cases for label in case.labels if label.name == name
                  and label.annotated]  # where nobody looked for it, it is part of no mean
        cells = []
        for metric in metrics:
            values = [score.value(metric) for score in scores]
            cells.append(with_interval(bootstrap_mean(values)) if metric in _WITH_INTERVAL else number(mean(values).value))
        n = sum(score.value(metrics[0]) is not None for score in scores)
        rows.append((name, str(n), str(sum(score.is_empty for score in scores)), *cells))
    return rows


def cases_section(of: Gathered, pictures: tuple[CasePictures, ...]) -> Section:
    """Best, median and worst cases in three planes."""
    if not any(model.cases for model in of.models):
        return Section("cases", "Cases", (Absent("No fold is finished: there is no case to show.", _train(of)),))
    if not pictures:
        return Section("cases", "Cases", (Absent("The images cannot be drawn: the raw dataset is not there or no case has "
                                                 "a Dice."),))
    blocks: list[Block] = [Text(
        "Best, median and worst validation case by the mean Dice over labels, as the fold predicted it (before any "
        "postprocessing): lines are the truth, dashed and lighter lines the prediction. Each plane is the slice with most "
        "true foreground, cut to its surroundings. The patient's left is on the right of axial and coronal planes.",
        quiet=True)]
    shown = ""
    for one in pictures:
        if one.model != shown:
            blocks.append(Heading(one.model))
            shown = one.model
        blocks.append(Figures(one.figures, one.title) if one.figures else Absent(one.fault))
        if one.legend:
            blocks.append(Legend(one.legend))
    if sum(bool(model.cases) for model in of.models) > MODELS_SHOWN:
        blocks.append(Text(f"Of the {MODELS_SHOWN} best configurations; the others are left out for the file's size.",
                           quiet=True))
    return Section("cases", "Cases", tuple(blocks))


def failures_section(of: Gathered) -> Section:
    """What could not be read or scored, and labels whose Dice is 0."""
    blocks: list[Block] = []
    if of.faults:
        blocks += [Text("Files that could not be read:"), Bullets(of.faults)]
    unscored = [f"{model.title}, fold {result.fold}: {fault}" for model in of.models for result in model.finished
                for fault in (*result.unscored, *(result.scores.faults if result.scores is not None else ()))]
    if unscored:
        blocks += [Text("Cases that were not scored, and are part of no mean:"), Bullets(tuple(unscored))]
    selected = () if of.selection is None else of.selection.final.faults
    if selected:
        blocks += [Text("Cases that selection could not score:"), Bullets(selected)]
    if any(model.cases for model in of.models):
        zeros = [row for model in of.models for row in _zeros(model)]
        blocks.append(table("Labels whose Dice is 0 in a validation case: missed wholly, or found where there is none. "
                            "Volumes in mL.", ("Case", "Configuration", "Label", "What", "Truth", "Predicted"), zeros,
                            limit=100) if zeros else Text("No label of a validation case has a Dice of 0."))
    else:
        blocks.append(Absent("No fold is finished: nothing can have failed there yet.", _train(of)))
    if not of.faults and not unscored and not selected:
        blocks.append(Text("Every file was read and every validated case was scored."))
    return Section("failures", "Failures", tuple(blocks))


def _zeros(model: Model) -> list[tuple[str | Cell, ...]]:
    rows = []
    for case in model.cases:
        for label in case.labels:
            if label.dice == 0:
                what = ("not in the truth, but predicted" if label.truth_ml == 0
                        else "missed" if label.predicted_ml == 0 else "predicted elsewhere")
                rows.append((case.name, Cell(model.title), Cell(label.name), Cell(what), short(label.truth_ml),
                             short(label.predicted_ml)))
    return rows


def _labels_table(model: Model, names: list[str]) -> Table:
    metrics = next(result.scores.scoring.metrics for result in model.finished if result.scores is not None)
    rows = label_rows(model.cases, names, metrics)
    dice = bootstrap_mean([case.mean_dice for case in model.cases])
    if len(names) > 1 and "dice" in metrics:
        rows.append(("mean foreground", str(dice.n), "", *(with_interval(dice) if metric == "dice" else ""
                                                           for metric in metrics)))
    return table(f"{model.title}: mean over n cases a label, in brackets 95 % intervals.",
                 ("Label", "n", "Empty", *map(metric_title, metrics)), rows)


def _train(of: Gathered) -> str:
    begun = next(((model.configuration, model.planner) for model in of.models), None)
    configuration = begun[0] if begun else next((name for plan in of.plans.values() for name in plan.configurations),
                                                "3d_fullres")
    planner = f" -p {begun[1]}" if begun else ""
    return f"autoseg_train {of.number} {configuration} 0{planner}"

