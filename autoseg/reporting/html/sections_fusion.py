"""The comparison of sets of inputs: what each reached, alone and fused, and which inputs are left out."""

from autoseg.base.progress import duration
from autoseg.evaluation.statistics import MARGIN
from autoseg.reporting.html.blocks import Absent, Bullets, Cell, Section, Text, table
from autoseg.reporting.html.gather import ReportData
from autoseg.reporting.html.words import difference, p_value, with_interval
from autoseg.selection.inputs import SIGNIFICANT, TOGETHER, InputComparison, InputScore, reasons


def fusion_section(data: ReportData) -> Section | None:
    """None where no inputs were compared."""
    comparison = data.inputs
    if comparison is None:
        return None
    title = "Inputs compared"
    if not comparison.scores:
        return Section("fusion", title, (Absent("The comparison is not finished.", _command(data, comparison)),))
    not_scored = {**comparison.failed, **comparison.left_out}
    scores = sorted(comparison.scores, key=lambda score: -(score.mean.mean or 0.0))
    caption = (f"Candidates: mean foreground Dice per case (a label that is rightly absent counts 1) on "
               f"{len(comparison.cases)} validation cases of folds {', '.join(map(str, comparison.folds))}, each predicted "
               f"by the fold that never saw it, with its 95 % interval. {TOGETHER.strip()}: late fusion, the mean of two "
               "models' probabilities. Difference to the best; p of Wilcoxon's signed-rank test, corrected by Holm.")
    return Section("fusion", title, (
        Bullets(tuple(reasons(comparison))),
        table(caption, ("Inputs", "", "n inputs", "n", "Dice (95 % interval)", "To the best (95 %)", "p (Holm)", "Time"),
              [_row(score, comparison) for score in scores], texts=(1,)),
        *([Bullets(tuple(f"{name} was not scored: {why}" for name, why in not_scored.items()))] if not_scored else []),
        Text("Chosen is the candidate with the fewest inputs among those that are not significantly worse than the best "
             f"(corrected p below {SIGNIFICANT}) and less than {MARGIN} below it. All were trained for the same time by "
             "plans that differ in their inputs alone. The cases that chose also scored: the score of the choice is "
             "slightly too good.", quiet=True)))


def _row(score: InputScore, comparison: InputComparison) -> tuple[str | Cell, ...]:
    mark = Cell("worse", mark="bad") if not score.is_as_good else Cell("")
    if score.title == comparison.chosen:
        mark = Cell("chosen", mark="good")
    to_best = "best" if score.difference is None else difference(score.difference)
    seconds = [comparison.seconds[title] for title in score.sets if title in comparison.seconds]
    return (score.title, mark, str(score.n_inputs), str(score.mean.n), with_interval(score.mean), to_best,
            "–" if score.p is None else p_value(score.p), duration(sum(seconds)) if seconds else "–")


def _command(data: ReportData, comparison: InputComparison) -> str:
    """The command that goes on: with other options it would refuse."""
    words = [f'"{each.title}"' for each in comparison.sets] + ["--late"] * comparison.late
    words += ["-p", comparison.plan.planner, "--folds", *map(str, comparison.folds)]
    for option, seconds in (("--total", comparison.total_seconds), ("--budget", comparison.budget_seconds)):
        words += [] if seconds is None else [option, f"{seconds:.15g}s"]
    words += [] if comparison.memory_bytes is None else ["--memory", f"{comparison.memory_bytes / 2**20:.15g}M"]
    words += [word for change in comparison.changes for word in ("--set", f'"{change}"')]
    words += [] if comparison.seed == 0 else ["--seed", str(comparison.seed)]
    return f"autoseg_compare_inputs {data.number} {comparison.configuration} --inputs {' '.join(words)}"
