"""The report of `autoseg_verify` as tables that a person reads in a minute: findings by their kind, with examples."""

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from autoseg.datasets.findings import Finding, Kind, grouped, shortened

_EXAMPLES = 3  # per kind
_EXAMPLE_LINES = 2
_NAMED = 8  # further files that are named without their details
_NUMBER = 6  # width of the column of numbers
_ADVICE = {"fault": "correct before the dataset is used", "warning": "look at them; the dataset can be used"}


def findings_table(texts: Sequence[str], word: str, folder: Path, width: int = 120) -> str:
    """The findings, which are called `word` (fault or warning): per kind their number, examples, and what to do.

    The most frequent kind comes first. Paths are relative to the dataset's `folder`. Lines have at most `width` characters,
    if words allow.
    """
    kinds = grouped(texts)
    of_kinds = f" of {len(kinds)} kinds" if 1 < len(kinds) < len(texts) else ""
    lines = [f"{counted(len(texts), word)}{of_kinds}: {_ADVICE[word]}"]
    for kind in kinds:
        lines += _kind(kind, str(folder), width)
    return "\n".join(lines)


def counted(number: int, word: str) -> str:
    """
    >>> counted(1, "fault"), counted(2, "warning")
    ('1 fault', '2 warnings')
    """
    return f"{number} {word}{'s' * (number != 1)}"


def checked(n_faults: int, n_warnings: int, number: int) -> str:
    """What the check of dataset `number` found, in a line.

    >>> checked(0, 1, 12)
    'checked: no fault, 1 warning; autoseg_verify -d 12 tells them'
    """
    faults = counted(n_faults, "fault") if n_faults else "no fault"
    more = f"; autoseg_verify -d {number} tells them" * bool(n_warnings)
    return f"checked: {faults}, {counted(n_warnings, 'warning')}{more}"


def _kind(kind: Kind, folder: str, width: int) -> Iterator[str]:
    """A row with the number and the title, the examples below it, the files of the others, and what to do."""
    findings = kind.findings
    yield from _wrapped(f"{len(findings):>{_NUMBER}}  ", shortened(kind.title, folder), width)
    for finding in findings[:_EXAMPLES]:
        example = shortened(_example(finding, kind), folder)
        if example:
            yield from _wrapped(" " * (_NUMBER + 4), example, width, _EXAMPLE_LINES)
    others = findings[_EXAMPLES:]
    if others:
        places = dict.fromkeys(Path(finding.place).name for finding in others[:_NAMED] if finding.place)
        names = f": {', '.join(places)}{', ...' if len(others) > _NAMED else ''}" if places else ""
        yield from _wrapped(" " * (_NUMBER + 4), f"and {len(others)} more{names}", width)
    if kind.do:
        yield from _wrapped(" " * (_NUMBER + 2) + "-> ", shortened(kind.do, folder), width)


def _example(finding: Finding, kind: Kind) -> str:
    """Where it is and what is particular about it: the details, or else the sentence where that is not the title's."""
    if finding.details:
        return f"{finding.where} ({finding.details})" if finding.where else finding.details
    if finding.what == kind.title:
        return finding.where
    return f"{finding.where}: {finding.what}" if finding.where else finding.what


def _wrapped(start: str, text: str, width: int, most_lines: int | None = None) -> list[str]:
    return textwrap.wrap(text, width, initial_indent=start, subsequent_indent=" " * (len(start) + 2 * (not start.strip())),
                         break_long_words=False, break_on_hyphens=False, max_lines=most_lines, placeholder=" ...")
