"""Figures of outcomes: survival of risk groups, calibration, ROC curves, and models beside each other."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from autoseg.evaluation.outcome_calibration import CalibrationGroup, OutcomeCalibration
from autoseg.evaluation.outcome_scores import CategoryScore
from autoseg.evaluation.resampling import OutcomeScore
from autoseg.evaluation.survival_curves import KaplanMeier, RiskGroups, number_at_risk
from autoseg.reporting.html.blocks import Figure
from autoseg.reporting.html.figures import DASHES, FAINT, INK, SERIES, SIZE, drawn, named, packed, styled, thinned
from autoseg.reporting.html.words import counted, number, p_value, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

_N_TIMES = 8  # at which numbers at risk are given
_LONG = 34  # letters of the name of a model


def scored(score: OutcomeScore, digits: int = 3) -> str:
    """
    >>> scored(OutcomeScore(value=0.7, low=0.6, high=0.8)), scored(OutcomeScore(reason="no case has the event"))
    ('0.700 (0.600 to 0.800)', 'no case has the event')
    """
    if score.value is None:
        return score.reason
    limits = "" if score.low is None else f" ({number(score.low, digits)} to {number(score.high, digits)})"
    return number(score.value, digits) + limits


def survival_figure(groups: RiskGroups, title: str, unit: str = "") -> Figure | None:
    """Kaplan-Meier curves of the groups with 95 % bands, ends of follow-up as ticks, and numbers at risk below."""
    if not groups.curves:
        return None
    last = max(curve.times[-1] for curve in groups.curves)
    in_unit = f" ({unit})" if unit else ""

    def draw(figure: "Drawing") -> None:
        above, below = figure.subplots(2, 1, height_ratios=(4, 0.45 + 0.4 * len(groups.curves)))
        styled(above)
        for place, (name, curve) in enumerate(zip(groups.names, groups.curves, strict=True)):
            _draw_curve(above, curve, name, place)
        above.set(xlim=(0, last), ylim=(0, 1.02), xlabel=f"Time{in_unit}", ylabel="Survival")
        above.legend(frameon=False, fontsize=8, loc="upper right")
        times = [time for time in above.get_xticks() if 0 <= time <= last]
        _draw_at_risk(below, groups, times[::max(1, -(-len(times) // _N_TIMES))], last)

    tested = groups.log_rank
    p = f"log-rank p {p_value(tested.p)}" if tested.p is not None else f"no log-rank test: {tested.reason}"
    described = "; ".join(_described(name, curve, unit) for name, curve in zip(groups.names, groups.curves, strict=True))
    return packed(draw, f"Survival of risk groups, {title}. {described}; {p}.",
                  f"{title}: survival (Kaplan-Meier, 95 % bands) of cases with lower and higher out-of-fold risk, split at "
                  f"quantiles of each fold; ticks: ends of follow-up; below: cases at risk. {described}; {p} (it does "
                  "not know that the models of the folds share cases).", size=(1.3 * SIZE[0], 1.45 * SIZE[1]))


def outcome_calibration_figure(calibration: OutcomeCalibration, title: str, unit: str = "") -> Figure | None:
    """Observed against predicted probability of each group, with the number of cases."""
    groups = calibration.groups
    if not groups:
        return None

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.5)
        for group in groups:
            if group.low is not None and group.high is not None:
                axes.plot([group.predicted] * 2, [group.low, group.high], color=SERIES[0], linewidth=1.2)
            axes.annotate(str(group.n), (group.predicted, group.observed), xytext=(4, -9), textcoords="offset points",
                          fontsize=7)
        axes.plot([group.predicted for group in groups], [group.observed for group in groups], "o-", color=SERIES[0],
                  markersize=4, linewidth=1)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="Predicted probability", ylabel="Observed probability")

    when = "" if calibration.time is None else f" of an event until {short(calibration.time)}{' ' + unit if unit else ''}"
    summary = f"intercept {scored(calibration.intercept, 2)}, slope {scored(calibration.slope, 2)}"
    return drawn(draw, f"Calibration, {title}. {'; '.join(map(_compared, groups))}; {summary}.",
                 f"{title}: observed against predicted probability{when} in groups of similar prediction, with 95 % "
                 f"intervals and numbers of cases; on the grey line both are equal. Logistic {summary} (right: 0 and 1).")


def roc_figure(categories: Sequence[CategoryScore], title: str) -> Figure | None:
    """Sensitivity against false positive rate, a line per category."""
    lines = [(entry, entry.roc) for entry in categories if entry.roc is not None]
    if not lines:
        return None

    def draw(axes: "Axes") -> None:
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.5)
        for place, (entry, curve) in enumerate(lines):
            rows = thinned(curve.sensitivity)
            axes.plot(np.array(curve.false_positive_rate)[rows], np.array(curve.sensitivity)[rows], linewidth=1.6,
                      color=SERIES[place % len(SERIES)], linestyle=DASHES[place % len(DASHES)], label=named(entry.name))
        axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xlabel="False positive rate", ylabel="Sensitivity")
        axes.legend(frameon=False, fontsize=8, loc="lower right")

    areas = "; ".join(f"{entry.name}: AUROC {scored(entry.auroc)}, {counted(entry.n, 'case')}" for entry, _ in lines)
    return drawn(draw, f"ROC, {title}. {areas}.",
                 f"{title}: sensitivity against false positive rate at every limit of the out-of-fold probability; on the "
                 f"grey line a model knows nothing. {areas}. The AUROC counts pairs within folds; the curve has all cases.")


def forest_figure(models: Sequence[tuple[str, OutcomeScore]], score: str, title: str, chance: float | None) -> Figure | None:
    """A line per model: the score with its interval; dotted: the score of a model that knows nothing."""
    known = [(name, entry, entry.value) for name, entry in models if entry.value is not None]
    if not known:
        return None

    def draw(axes: "Axes") -> None:
        if chance is not None:
            axes.axvline(chance, color=INK, linewidth=1, linestyle=":")
        for place, (_, entry, value) in enumerate(known):
            if entry.low is not None and entry.high is not None:
                axes.plot([entry.low, entry.high], [place, place], color=SERIES[0], linewidth=2)
            axes.plot(value, place, "o", color=SERIES[0], markersize=5)
        axes.set_yticks(range(len(known)), [named(name, _LONG) for name, _, _ in known], fontsize=8)
        axes.set_ylim(len(known) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(score)

    without = [f"{name}: {entry.reason}" for name, entry in models if entry.value is None]
    lacking = f" Not drawn: {'; '.join(without)}." if without else ""
    dotted = "" if chance is None else f" Dotted: a model that knows nothing ({chance:g})."
    return drawn(draw, f"{score} of each model, {title}. {'; '.join(f'{name}: {scored(entry)}' for name, entry in models)}.",
                 f"{title}: {score} of the out-of-fold estimates of each model, with 95 % bootstrap intervals over cases."
                 f"{dotted}{lacking}", size=(1.35 * SIZE[0], float(np.clip(0.9 + 0.26 * len(known), 1.5, 3 * SIZE[1]))))


def _draw_curve(axes: "Axes", curve: KaplanMeier, name: str, place: int) -> None:
    colour, dash = SERIES[place % len(SERIES)], DASHES[place % len(DASHES)]
    times, survival = [0.0, *curve.times], [1.0, *curve.survival]
    axes.step(times, survival, where="post", color=colour, linestyle=dash, linewidth=1.6, label=f"{name} ({curve.n})")
    low, high = ([1.0, *(0.0 if limit is None else limit for limit in limits)] for limits in (curve.low, curve.high))
    axes.fill_between(times, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
    ends = [(time, value) for time, value, n in zip(curve.times, curve.survival, curve.censored, strict=True) if n]
    axes.plot([time for time, _ in ends], [value for _, value in ends], "|", color=colour, markersize=5)


def _draw_at_risk(axes: "Axes", groups: RiskGroups, times: Sequence[float], last: float) -> None:
    axes.set_axis_off()
    axes.set(xlim=(0, last), ylim=(len(groups.curves) - 0.5, -1.3))
    axes.text(0, -0.9, "at risk", fontsize=7)
    for place, curve in enumerate(groups.curves):
        for time in times:
            axes.text(time, place, str(number_at_risk(curve, time)), fontsize=8, ha="left" if time == 0 else "center",
                      va="center", color=SERIES[place % len(SERIES)])


def _described(name: str, curve: KaplanMeier, unit: str) -> str:
    median = "not reached" if curve.median is None else short(curve.median) + (f" {unit}" if unit else "")
    return f"{name}: {counted(curve.n, 'case')}, {counted(curve.n_events, 'event')}, median {median}"


def _compared(group: CalibrationGroup) -> str:
    return f"predicted {number(group.predicted, 2)}, observed {number(group.observed, 2)}, n {group.n}"
