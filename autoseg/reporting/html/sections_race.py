"""The race of configurations for a total time: who was dropped when, who won, and what it cost."""

from autoseg.base.progress import duration
from autoseg.reporting.html.blocks import Block, Bullets, Facts, Figures, Section, Text
from autoseg.reporting.html.figures_race import race_figure
from autoseg.reporting.html.gather import ReportData
from autoseg.reporting.html.words import percent
from autoseg.selection.race_text import as_lines


def race_section(data: ReportData) -> Section | None:
    """None where no total time was given: then there was nothing to race for."""
    race = data.race
    if race is None:
        return None
    blocks: list[Block] = [Facts((
        ("Winner", " + ".join(race.winners) or "not decided", f"of {len(race.candidates)} candidates"),
        ("Cost of the race", percent(race.lost_seconds / race.total_seconds),
         f"of the total of {duration(race.total_seconds)}: the time of those that were dropped"),
        ("Time of each fold", "–" if race.fold_seconds is None else duration(race.fold_seconds),
         f"at least {duration(race.planned_fold_seconds)} was foreseen")))]
    figure = race_figure(race)
    if figure is not None:
        blocks.append(Figures((figure,), columns=2))
    blocks += [Bullets(tuple(as_lines(race))),
               Text("Candidates were compared after equal time, on the same cases and paired by case. These cases also "
                    "chose the winner, so that its Dice on this fold is slightly too good.", quiet=True)]
    return Section("race", "Race", tuple(blocks))
