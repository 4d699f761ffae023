"""A selection as text."""

from autoseg.evaluation.table import table, text_table
from autoseg.selection.types import Comparison, Selection


def as_text(selection: Selection) -> str:
    """The candidates by cost, the comparisons, the scores of the choice, and notes."""
    selected = " + ".join(member.title for member in selection.inference.members)
    cheapest = min(candidate.cost for candidate in selection.candidates) or 1.0
    n = len(selection.candidates)
    lines = [f"{selection.dataset}: {n} candidate{'s' if n > 1 else ''} on {selection.n_cases} cross-validation cases", ""]
    rows = [["  candidate", "Dice", "cost"]]
    for candidate in sorted(selection.candidates, key=lambda candidate: candidate.cost):
        dice = candidate.scores.foreground_means["dice"].value
        rows.append([f"{'*' if candidate.title == selected else ' '} {candidate.title}",
                     "-" if dice is None else f"{dice:.4f}", f"x{candidate.cost / cheapest:.1f}"])
    lines += text_table(rows)
    for title, comparisons in (("costlier candidates", selection.comparisons), ("postprocessing", selection.postprocessing)):
        if comparisons:
            lines += ["", f"{title}, each compared with the incumbent:", *map(_line, comparisons)]
    lines += ["", "chosen:", *(f"  {reason}" for reason in selection.inference.reasons)]
    if selection.calibration is not None:
        calibration = selection.calibration
        lines.append(f"  calibration error {calibration.error_before:.4f}, with temperature {calibration.temperature:g} "
                     f"{calibration.error_after:.4f}")
    lines += ["", table(selection.final), "", "notes:", *(f"  - {note}" for note in selection.notes)]
    return "\n".join(lines)


def _line(comparison: Comparison) -> str:
    difference = comparison.difference
    interval = "" if difference.low is None else f" ({difference.low:+.4f} to {difference.high:+.4f})"
    change = "no case in common" if difference.difference is None else f"{difference.difference:+.4f}{interval}"
    decision = "accepted" if comparison.accepted else "refused "
    return f"  {decision}  {change}  {comparison.candidate}  (against {comparison.incumbent})"
