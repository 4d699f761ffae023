"""The headline, and what selection decided: comparisons, postprocessing, calibration, quality_control."""

from autoseg.evaluation.metrics import METRICS
from autoseg.evaluation.statistics import bootstrap_mean
from autoseg.evaluation.table import remarks
from autoseg.evaluation.types import GROUPS
from autoseg.prediction.inference_settings import Postprocessing
from autoseg.reporting.html.blocks import Absent, Block, Bullets, Cell, Facts, Figures, Heading, Section, Table, Text, table
from autoseg.reporting.html.figures_scores import calibration_figure, quality_control_figure
from autoseg.reporting.html.gather import Gathered
from autoseg.reporting.html.sections_scores import label_rows
from autoseg.reporting.html.words import counted, difference, metric_title, number, p_value, verdict, with_interval
from autoseg.selection.types import Comparison, Selection


def headline(of: Gathered) -> tuple[Block, ...]:
    """What was chosen and how good it is, or what is known so far."""
    selection = of.selection
    if selection is not None:
        dice = bootstrap_mean([case.mean_dice for case in selection.final.cases])
        chosen = " + ".join(member.title for member in selection.inference.members)
        return (Facts((("Chosen", chosen, _postprocessing(selection.inference.postprocessing)),
                       ("Mean foreground Dice", number(dice.mean), _interval_words(dice)),
                       ("Cases", str(selection.n_cases), "cross-validated, each by folds that never saw it"))),
                *([Bullets(selection.inference.reasons)] if selection.inference.reasons else []))
    scored = [(model, bootstrap_mean([case.mean_dice for case in model.cases])) for model in of.models if model.cases]
    known = [(model, dice) for model, dice in scored if dice.mean is not None]
    if not known:
        return (Absent("Nothing was scored yet.", _command(of)),)
    model, dice = max(known, key=lambda pair: pair[1].mean)
    folds = sum(fold.name.isdecimal() and fold.result is not None for fold in model.folds)
    return (Facts((("Best so far", model.title, f"{folds} of {of.n_folds} folds finished; nothing was chosen yet"),
                   ("Mean foreground Dice", number(dice.mean), _interval_words(dice)),
                   ("Validated cases", str(len(model.cases)), "each by the fold that never saw it"))),
            Absent("Configurations were not compared yet: which one to use, and how good it is on all cases, is decided by "
                   "cross-validation once every fold is finished.", _command(of)))


def selection_section(of: Gathered) -> Section:
    """Candidates, comparisons, postprocessing and the final scores."""
    selection = of.selection
    title = "Selection"
    if selection is None:
        return Section("selection", title, (Absent("Configurations and ensembles were not compared, and no postprocessing "
                                                   "was decided.", _command(of)),))
    blocks: list[Block] = [_candidates(selection)]
    if selection.comparisons:
        blocks.append(_comparisons(
            "Comparisons: the costlier candidate takes the incumbent's place only where it is significantly better. Difference: "
            "candidate less incumbent, of the mean foreground Dice of each case (a label that is rightly absent counts 1), "
            "with its 95 % bootstrap interval; p of Wilcoxon's signed-rank test, not corrected for the number of rows.",
            selection.comparisons))
    else:
        blocks.append(Text("There was one candidate: nothing to compare."))
    blocks.append(Heading("Postprocessing"))
    if selection.postprocessing:
        blocks.append(_comparisons("Steps of postprocessing, each tried on top of those accepted before it; read as above.",
                                   selection.postprocessing))
    blocks.append(Text(f"Decided: {_postprocessing(selection.inference.postprocessing)}."))
    blocks += [Heading("Scores of what was chosen"), *_final(selection)]
    if selection.notes:
        blocks += [Text("What could not be compared, and why:"), Bullets(selection.notes)]
    return Section("selection", title, tuple(blocks))


def quality_control_section(of: Gathered) -> Section:
    """Calibration and predicted Dice."""
    title = "Calibration and quality control"
    selection = of.selection
    if selection is None:
        return Section("quality_control", title, (Absent("Calibration and the prediction of a case's Dice are fitted when "
                                               "configurations are compared.", _command(of)),))
    figures = []
    blocks: list[Block] = []
    if selection.calibration is not None:
        figures.append(calibration_figure(selection.calibration))
    else:
        blocks.append(Absent("There is no calibration: probabilities of the validation cases were not available.",
                             _command(of)))
    quality_control = selection.inference.quality_control
    if selection.cases:
        figures.append(quality_control_figure(selection.cases, quality_control.correlation if quality_control else None,
                                    quality_control.review_below if quality_control else None))
    else:
        blocks.append(Absent("The Dice of a case was not predicted: there is no rule for it.", _command(of)))
    if figures:
        blocks.append(Figures(tuple(figures), columns=2))
    if quality_control is not None:
        blocks.append(Text(f"Predicted Dice = {quality_control.intercept:.3f} + {quality_control.slope:.3f} × expected Dice, clipped to 0 to 1; "
                           f"below {quality_control.review_below:.3f} a case is flagged “look at this one” (n = {quality_control.n})."))
    flagged = sorted((case for case in selection.cases if case.needs_review), key=lambda case: case.predicted_dice)
    if flagged:
        blocks.append(table(f"Cases that need review: {len(flagged)} of {len(selection.cases)}, the lowest predicted Dice first.",
                            ("Case", "Predicted Dice", "True Dice"),
                            [(case.name, number(case.predicted_dice), number(case.true_dice)) for case in flagged],
                            limit=50))
    return Section("quality_control", title, tuple(blocks))


def _candidates(of: Selection) -> Table:
    chosen = " + ".join(member.title for member in of.inference.members)
    rows = []
    for candidate in of.candidates:
        dice = bootstrap_mean([case.mean_dice for case in candidate.scores.cases])
        mark = Cell("chosen", mark="good") if candidate.title == chosen else Cell("")
        rows.append((candidate.title, mark, str(dice.n), with_interval(dice), f"{candidate.cost / 1e9:.1f}"))
    return table("Candidates: mean foreground Dice (0 to 1) over n cross-validated cases with its 95 % interval, before "
                 "postprocessing; cost of predicting a case by arithmetic, in GFLOP.",
                 ("Candidate", "", "n", "Dice (95 % interval)", "Cost (GFLOP)"), rows)


def _comparisons(caption: str, comparisons: tuple[Comparison, ...]) -> Table:
    rows = []
    for one in comparisons:
        taken = Cell("taken", mark="good") if one.accepted else Cell("not taken", mark="bad")
        d = one.difference
        rows.append((one.candidate, Cell(one.incumbent), str(d.n), difference(d), p_value(d.p_wilcoxon), Cell(verdict(d)),
                     taken))
    return table(caption, ("Challenger", "Holder", "n", "Difference (95 %)", "p", "Verdict", "Decision"), rows)


def _final(of: Selection) -> list[Block]:
    """A table a group of metrics, then what was counted over all cases."""
    names = [label.name for label in of.final.labels]
    blocks: list[Block] = []
    for group in GROUPS:
        metrics = tuple(metric for metric in of.final.scoring.metrics if METRICS[metric].group == group)
        if metrics:
            blocks.append(table(f"{group.capitalize()} of the chosen members, postprocessing included: mean over n cases a "
                                f"label, in brackets 95 % intervals. {counted(of.final.n_cases, 'case')}.",
                                ("Label", "n", "Empty", *map(metric_title, metrics)),
                                label_rows(of.final.cases, names, metrics)))
    counts = remarks(of.final)
    return [*blocks, Bullets(tuple(counts))] if counts else blocks


def _postprocessing(of: Postprocessing) -> str:
    steps = []
    if of.keep_largest_of_all:
        steps.append("the largest component of the whole foreground")
    if of.keep_largest:
        steps.append("the largest component of " + ", ".join(of.keep_largest))
    if of.fill_holes:
        steps.append("holes filled in " + ", ".join(of.fill_holes))
    if of.minimum_ml:
        steps.append("no component below " + ", ".join(f"{ml:g} mL of {name}" for name, ml in of.minimum_ml.items()))
    return "; ".join(steps) or "no postprocessing"


def _interval_words(dice) -> str:
    if dice.low is None:
        return f"n = {dice.n}: too few cases for an interval"
    left_out = f"; {dice.n_left_out} without a Dice left out" if dice.n_left_out else ""
    return f"95 % interval {dice.low:.3f} to {dice.high:.3f}, n = {counted(dice.n, 'case')}{left_out}"


def _command(of: Gathered) -> str:
    return f"autoseg_find_best_configuration {of.number}"
