"""The headline, and the results of selection: comparisons, postprocessing, calibration, quality control."""

from autoseg.evaluation.metrics import METRICS
from autoseg.evaluation.statistics import BootstrapMean, bootstrap_mean
from autoseg.evaluation.table import remarks
from autoseg.evaluation.types import GROUPS
from autoseg.reporting.html.blocks import Absent, Block, Bullets, Cell, Facts, Figures, Heading, Section, Table, Text, table
from autoseg.reporting.html.figures_scores import calibration_figure, quality_control_figure
from autoseg.reporting.html.gather import ReportData
from autoseg.reporting.html.sections_scores import label_rows
from autoseg.reporting.html.words import counted, difference, metric_title, number, p_value, verdict, with_interval
from autoseg.selection.steps import describe
from autoseg.selection.types import Comparison, Selection


def headline(data: ReportData) -> tuple[Block, ...]:
    """The choice and its scores, or the best configuration so far."""
    selection = data.selection
    if selection is not None:
        dice = bootstrap_mean([case.mean_dice for case in selection.final.cases])
        title = " + ".join(member.title for member in selection.inference.members)
        return (Facts((("Chosen", title, describe(selection.inference.postprocessing)),
                       ("Mean foreground Dice", number(dice.mean), _interval_words(dice)),
                       ("Cases", str(selection.n_cases), "cross-validated, each by folds that never saw it"))),
                *([Bullets(selection.inference.reasons)] if selection.inference.reasons else []))
    scored = [(model, bootstrap_mean([case.mean_dice for case in model.cases])) for model in data.models if model.cases]
    known = [(dice.mean, model, dice) for model, dice in scored if dice.mean is not None]
    if not known:
        return (Absent("Nothing was scored yet.", _command(data)),)
    _, model, dice = max(known, key=lambda entry: entry[0])
    folds = sum(fold.name.isdecimal() and fold.result is not None for fold in model.folds)
    return (Facts((("Best so far", model.title, f"{folds} of {data.n_folds} folds finished; nothing was chosen yet"),
                   ("Mean foreground Dice", number(dice.mean), _interval_words(dice)),
                   ("Validated cases", str(len(model.cases)), "each by the fold that never saw it"))),
            Absent("Configurations were not compared yet. When every fold is finished, cross-validation decides which one "
                   "to use and how good it is on all cases.", _command(data)))


def _alone(data: ReportData) -> tuple[Block, ...]:
    """The postprocessing of each fold for masks that it predicts alone."""
    lines = [f"{model.title}, fold {fold.name}: {describe(fold.postprocessing.postprocessing)} "
             f"({counted(fold.postprocessing.n_cases, 'validation case')})"
             for model in data.models for fold in model.folds if fold.postprocessing is not None]
    return (Text("Where a fold predicts alone:"), Bullets(tuple(lines))) if lines else ()


def selection_section(data: ReportData) -> Section:
    """Candidates, comparisons, postprocessing and the final scores."""
    selection = data.selection
    title = "Selection"
    if selection is None:
        return Section("selection", title, (
            Absent("Configurations and ensembles were not compared, and no postprocessing was decided for them.",
                   _command(data)), *_alone(data)))
    blocks: list[Block] = [_candidates(selection)]
    if selection.comparisons:
        blocks.append(_comparisons(
            "Comparisons: the costlier candidate replaces the incumbent only where it is significantly better. Difference: "
            "candidate minus incumbent, of the mean foreground Dice per case (a label that is rightly absent counts 1), "
            "with its 95 % bootstrap interval; p of Wilcoxon's signed-rank test, not corrected for the number of rows.",
            selection.comparisons))
    elif len(selection.candidates) > 1:
        blocks.append(Text("Chosen among sets of inputs: see Inputs compared."))
    else:
        blocks.append(Text("There was one candidate: nothing to compare."))
    blocks.append(Heading("Postprocessing"))
    if selection.postprocessing:
        blocks.append(_comparisons("Steps of postprocessing. Each is compared with the steps accepted before it. The "
                                   "columns are those of the table above.", selection.postprocessing))
    blocks.append(Text(f"Decided: {describe(selection.inference.postprocessing)}."))
    blocks += [Heading("Scores of the choice"), *_final(selection)]
    if selection.notes:
        blocks += [Text("Notes on the comparison:"), Bullets(selection.notes)]
    return Section("selection", title, tuple(blocks))


def quality_control_section(data: ReportData) -> Section:
    """Calibration and predicted Dice."""
    title = "Quality control"
    selection = data.selection
    if selection is None:
        return Section("quality_control", title, (Absent("Calibration and the rule that predicts the Dice of a case are "
                                                         "fitted when configurations are compared.", _command(data)),))
    figures = []
    blocks: list[Block] = []
    if selection.calibration is not None:
        figures.append(calibration_figure(selection.calibration))
    else:
        blocks.append(Absent("There is no calibration: the probabilities of the validation cases were not saved.",
                             _command(data)))
    quality_control = selection.inference.quality_control
    if selection.cases:
        figures.append(quality_control_figure(selection.cases, quality_control.correlation if quality_control else None,
                                              quality_control.review_below if quality_control else None))
    else:
        blocks.append(Absent("The Dice of a case was not predicted: there is no rule for it.", _command(data)))
    if figures:
        blocks.append(Figures(tuple(figures), columns=2))
    if quality_control is not None:
        blocks.append(Text(f"Predicted Dice = {quality_control.intercept:.3f} + {quality_control.slope:.3f} × expected "
                           f"Dice, clipped to 0 to 1; a case below {quality_control.review_below:.3f} needs review "
                           f"(n = {quality_control.n})."))
    flagged = sorted((case for case in selection.cases if case.needs_review), key=lambda case: case.predicted_dice)
    if flagged:
        blocks.append(table(f"Cases that need review: {len(flagged)} of {len(selection.cases)}, the lowest predicted Dice "
                            "first.", ("Case", "Predicted Dice", "True Dice"),
                            [(case.name, number(case.predicted_dice), number(case.true_dice)) for case in flagged],
                            limit=50))
    return Section("quality_control", title, tuple(blocks))


def _candidates(selection: Selection) -> Table:
    title = " + ".join(member.title for member in selection.inference.members)
    rows = []
    for candidate in selection.candidates:
        dice = bootstrap_mean([case.mean_dice for case in candidate.scores.cases])
        mark = Cell("chosen", mark="good") if candidate.title == title else Cell("")
        rows.append((candidate.title, mark, str(dice.n), with_interval(dice), f"{candidate.cost / 1e9:.1f}"))
    return table("Candidates: mean foreground Dice (0 to 1) over n cross-validated cases with its 95 % interval, before "
                 "postprocessing; cost per predicted case, by arithmetic, in GFLOP.",
                 ("Candidate", "", "n", "Dice (95 % interval)", "Cost (GFLOP)"), rows)


def _comparisons(caption: str, comparisons: tuple[Comparison, ...]) -> Table:
    rows = []
    for comparison in comparisons:
        decision = Cell("accepted", mark="good") if comparison.accepted else Cell("not accepted", mark="bad")
        d = comparison.difference
        rows.append((comparison.candidate, Cell(comparison.incumbent), str(d.n), difference(d), p_value(d.p_wilcoxon),
                     Cell(verdict(d)), decision))
    return table(caption, ("Candidate", "Incumbent", "n", "Difference (95 %)", "p", "Verdict", "Decision"), rows)


def _final(selection: Selection) -> list[Block]:
    """One table per group of metrics, then the counts over all cases."""
    names = [label.name for label in selection.final.labels]
    blocks: list[Block] = []
    for group in GROUPS:
        metrics = tuple(metric for metric in selection.final.scoring.metrics if METRICS[metric].group == group)
        if metrics:
            blocks.append(table(f"{group.capitalize()} of the chosen members, postprocessing included: mean over n cases "
                                f"per label, with 95 % intervals in brackets. {counted(selection.final.n_cases, 'case')}.",
                                ("Label", "n", "Empty", *map(metric_title, metrics)),
                                label_rows(selection.final.cases, names, metrics)))
    counts = remarks(selection.final)
    return [*blocks, Bullets(tuple(counts))] if counts else blocks


def _interval_words(dice: BootstrapMean) -> str:
    if dice.low is None:
        return f"n = {dice.n}: too few cases for an interval"
    left_out = f"; {dice.n_left_out} without a Dice left out" if dice.n_left_out else ""
    return f"95 % interval {dice.low:.3f} to {dice.high:.3f}, n = {counted(dice.n, 'case')}{left_out}"


def _command(data: ReportData) -> str:
    return f"autoseg_find_best_configuration {data.number}"
