"""A selection as text, for people."""

from autoseg.evaluation.table import table, text_table
from autoseg.selection.types import Comparison, Selection


def as_text(selection: Selection) -> str:
    """The candidates by cost, what was compared, the scores of the choice, and what to know of it."""
    chosen = " + ".join(member.title for member in selection.inference.members)
    cheapest = min(candidate.cost for candidate in selection.candidates) or 1.0
    n = len(selection.candidates)
    lines = [f"{selection.dataset}: {n} candidate{'s' if n > 1 else ''} on {selection.n_cases} cross-validation cases", ""]
    rows = [["  candidate", "Dice", "cost"]]
    for candidate in sorted(selection.candidates, key=lambda candidate: candidate.cost):
        dice = candidate.scores.foreground_means["dice"].value
        rows.append([f"{'*' if candidate.title == chosen else ' '} {candidate.title}",
                     "-" if dice is None else f"{dice:.4f}", f"x{candidate.cost / cheapest:.1f}"])
    lines += text_table(rows)
    for title, comparisons in (("costlier choices", selection.comparisons), ("postprocessing", selection.postprocessing)):
        if comparisons:
            lines += ["", f"{title}, against what holds the place:", *map(_line, comparisons)]
    lines += ["", "chosen:", *(f"  {reason}" for reason in selection.inference.reasons)]
    if selection.calibration is not None:
        of = selection.calibration
        lines.append(f"  calibration error {of.error_before:.4f}, with temperature {of.temperature:g} {of.error_after:.4f}")
    lines += ["", table(selection.final), "", "notes:", *(f"  - {note}" for note in selection.notes)]
    return "\n".join(lines)


def _line(of: Comparison) -> str:
    found = of.difference
    interval = "" if found.low is None else f" ({found.low:+.4f} to {found.high:+.4f})"
    change = "no case in common" if found.difference is None else f"{found.difference:+.4f}{interval}"
    return f"  {'accepted' if of.accepted else 'refused '}  {change}  {of.candidate}  (against {of.incumbent})"
