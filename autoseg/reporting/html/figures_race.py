"""The race as a picture: Dice of the validation cases over the time that each candidate had."""

from autoseg.base.progress import duration
from autoseg.reporting.html.blocks import Figure
from autoseg.reporting.html.figures import DASHES, SERIES, drawn, named
from autoseg.reporting.html.words import counted, number
from autoseg.selection.race_types import Race

_SIZE = (5.2, 3.2)  # inches
_MARGIN = 0.02  # of Dice, above and below what is drawn
_ROOM = 1.05  # times the longest time, so that the last points are whole


def race_figure(race: Race) -> Figure | None:
    """A line for each candidate, a point for each rung; crosses mark those that were dropped. None without a score."""
    lines = {candidate.title: [(score.seconds, score.mean_dice) for score in race.scores(candidate.title)
                               if score.mean_dice is not None] for candidate in race.candidates}
    lines = {title: points for title, points in lines.items() if points}
    if not lines:
        return None
    unit, per_unit = ("min", 60.0) if max(points[-1][0] for points in lines.values()) < 2 * 3600 else ("h", 3600.0)

    def draw(axes) -> None:
        for place, (title, points) in enumerate(lines.items()):
            colour, dash = SERIES[place % len(SERIES)], DASHES[place % len(DASHES)]
            times, dice = [seconds / per_unit for seconds, _ in points], [value for _, value in points]
            axes.plot(times, dice, color=colour, linestyle=dash, linewidth=1.6, marker="o", markersize=4, label=named(title))
            if title in race.dropped:
                axes.plot(times[-1:], dice[-1:], color=colour, marker="x", markersize=9, markeredgewidth=2, linestyle="")
        values = [value for points in lines.values() for _, value in points]
        axes.set_ylim(min(values) - _MARGIN, max(values) + _MARGIN)
        axes.set_xlim(0, _ROOM * max(points[-1][0] for points in lines.values()) / per_unit)
        axes.set_xlabel(f"Time of the candidate ({unit})")
        axes.set_ylabel("Validation Dice")
        axes.legend(frameon=False, fontsize=8, loc="lower right")

    ends = "; ".join(f"{title}: " + ", ".join(f"{number(dice)} after {duration(seconds)}" for seconds, dice in points)
                     for title, points in lines.items())
    return drawn(draw, f"Validation Dice over the time of each candidate. {ends}",
                 f"Mean Dice per case over {counted(len(race.cases), 'validation case')} of fold {race.fold} (0 to 1), with "
                 "averaged weights and without mirroring, against the time that a candidate had used, its predictions "
                 "included. A cross: dropped there.", size=_SIZE)
