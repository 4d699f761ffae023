"""Figures of scores, calibration, quality control and ablation."""

from collections.abc import Sequence

import numpy as np

from autoseg.evaluation.calibration import Calibration
from autoseg.evaluation.statistics import MARGIN
from autoseg.evaluation.types import CaseScore
from autoseg.explain.ablation import Ablation
from autoseg.reporting.html.blocks import Figure
from autoseg.reporting.html.figures import FAINT, INK, MANY, SERIES, SIZE, drawn, named, ranked
from autoseg.reporting.html.words import counted, difference, number
from autoseg.selection.types import CaseEstimate


def dice_figure(cases: Sequence[CaseScore], labels: Sequence[str], title: str) -> Figure:
    """Quartiles and one point per case, for each label: the Dice of the cases."""
    shown = list(labels[:MANY])
    dice = {name: [score.dice for case in cases for score in case.labels if score.name == name and score.dice is not None]
            for name in shown}

    def draw(axes) -> None:
        rng = np.random.default_rng(0)
        for row, values in enumerate(dice.values()):
            if not values:
                continue
            q25, q50, q75 = np.percentile(values, (25, 50, 75))
            axes.plot([q25, q75], [row, row], color=SERIES[5], linewidth=11, alpha=0.5, solid_capstyle="butt")
            axes.plot([q50] * 2, [row - 0.3, row + 0.3], color=SERIES[1], linewidth=2)
            points = ranked(values)
            axes.plot(points, row + rng.uniform(-0.2, 0.2, len(points)), "o", color=SERIES[0], markersize=3, alpha=0.75,
                      markeredgewidth=0)
        axes.set_yticks(range(len(shown)), [named(name, 16) for name in shown], fontsize=8)
        axes.set_ylim(len(shown) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("Dice of a case")

    description = "; ".join(f"{name}: median {number(float(np.median(values)) if values else None)}, n {len(values)}"
                            for name, values in dice.items())
    more = f" The first {MANY} of {len(labels)} labels are shown." if len(labels) > MANY else ""
    return drawn(draw, f"Dice of each case, {title}. {description}.",
                 f"{title}: Dice (0 to 1) of each validation case; bar: quartiles, line: median. "
                 f"{counted(len(cases), 'case')}.{more}",
                 size=(SIZE[0], float(np.clip(0.9 + 0.28 * len(shown), 1.5, 3 * SIZE[1]))))


def calibration_figure(calibration: Calibration) -> Figure:
    """Accuracy against confidence, before and after the temperature."""
    def draw(axes) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.5)
        for bins, colour, mark, name in ((calibration.bins_before, SERIES[1], "s--", "before"),
                                         (calibration.bins_after, SERIES[0], "o-", "after")):
            points = [(entry.confidence, entry.accuracy) for entry in bins
                      if entry.confidence is not None and entry.accuracy is not None]
            axes.plot([confidence for confidence, _ in points], [accuracy for _, accuracy in points], mark, color=colour,
                      markersize=4, linewidth=1.3, label=f"{name} the temperature")
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="Confidence (mean probability per bin)",
                 ylabel="Accuracy (share that is right)")
        axes.legend(frameon=False, fontsize=8, loc="upper left")

    errors = (f"{calibration.error_before:.4f} before and {calibration.error_after:.4f} after a temperature of "
              f"{calibration.temperature:.3f}")
    return drawn(draw, f"Calibration diagram; expected calibration error {errors}.",
                 f"Calibration over {calibration.n_voxels} voxels near the foreground: accuracy against confidence (both 0 "
                 f"to 1); on the grey line both are equal. Expected calibration error {errors}.")


def quality_control_figure(cases: Sequence[CaseEstimate], correlation: float | None, review_below: float | None) -> Figure:
    """Predicted against true Dice; cases that need review have a mark of their own."""
    known = [case for case in cases if case.true_dice is not None]

    def draw(axes) -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.5)
        for flagged, mark, colour, name in ((False, "o", SERIES[0], "no review"), (True, "X", SERIES[4], "needs review")):
            group = [case for case in known if case.needs_review == flagged]
            axes.plot([case.predicted_dice for case in group], [case.true_dice for case in group], mark, color=colour,
                      markersize=5, alpha=0.75, markeredgewidth=0, label=f"{name} ({len(group)})")
        if review_below is not None:
            axes.axvline(review_below, color=INK, linewidth=1, linestyle=":")
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="Predicted Dice", ylabel="True Dice")
        axes.legend(frameon=False, fontsize=8, loc="upper left")

    summary = f"correlation (Pearson) {number(correlation, 2)}, n = {len(known)}"
    limit = f" A case below the dotted line at {review_below:.3f} needs review." if review_below is not None else ""
    n_review = sum(case.needs_review for case in known)
    return drawn(draw, f"Predicted against true Dice, {summary}; {counted(n_review, 'case')} of them for review.",
                 f"Dice (0 to 1) predicted without the truth, by a rule that never saw the case, against the true Dice; "
                 f"{summary}.{limit}")


def ablation_figure(ablation: Ablation) -> Figure | None:
    """One line per row: the paired difference with its interval."""
    rows = [(row.name, row.difference) for row in ablation.rows
            if row.difference is not None and row.difference.difference is not None][:MANY]
    if not rows:
        return None

    def draw(axes) -> None:
        axes.axvspan(-MARGIN, MARGIN, color=FAINT, alpha=0.6, linewidth=0)
        axes.axvline(0, color=INK, linewidth=0.8)
        for place, (_, paired) in enumerate(rows):
            if paired.low is not None:
                axes.plot([paired.low, paired.high], [place, place], color=SERIES[0], linewidth=2)
            axes.plot(paired.difference, place, "o", color=SERIES[0], markersize=5)
        axes.set_yticks(range(len(rows)), [named(name, 30) for name, _ in rows], fontsize=8)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("Dice with all inputs minus Dice of the row")

    description = "; ".join(f"{name}: {difference(paired)}, n {paired.n}" for name, paired in rows)
    return drawn(draw, f"What each input contributes. {description}.",
                 "Paired difference of Dice (with all inputs minus that of the row), mean and 95 % bootstrap interval over "
                 "cases; right of 0 the input that is left out helps; grey: within "
                 f"{MARGIN:g}. n: {_range([paired.n for _, paired in rows])} cases.",
                 size=(1.35 * SIZE[0], float(np.clip(0.9 + 0.26 * len(rows), 1.5, 3 * SIZE[1]))))


def _range(counts: Sequence[int]) -> str:
    return str(min(counts)) if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"
