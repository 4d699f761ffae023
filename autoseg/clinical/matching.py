"""Which row of a clinical table belongs to which case, and what to say where rows or cases are left over.

Spreadsheets change names: 095 becomes 95 or 95.0, 1-2 becomes a date. What no longer fits is never taken for a match, but
proposed.
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from autoseg.base.errors import UserError, hint, listed
from autoseg.clinical.cells import clean, is_date
from autoseg.clinical.table import Row, Table
from autoseg.workspace.names import DATASET_JSON
from planners.schema.conditions import ConditionTable

_EXAMPLES = 3
# What a table names by part of a case's name, the strictest first.
_PATTERNS = ("^0*([0-9]+)$", "^[^0-9]*([0-9]+)$", "^[^0-9]*0*([0-9]+)$", "^[A-Za-z]+[_-](.+)$", "^[^0-9]*([0-9]+)",
             "^[^0-9]*0*([0-9]+)")
_SHORTENED = re.compile(r"\d+(?:[.,]\d+)?e\+?\d+", re.IGNORECASE)
_FILE_NAME = re.compile(r"^(.+?)(?:_\d{4})?\.(?:nii(?:\.gz)?|nrrd|mh[ad]|png|bmp|jpe?g|tiff?|dcm)$", re.IGNORECASE)
_RUNS = re.compile(r"\d+|[^\W\d_]+")

Key = tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """How ids are compared with the names of cases: the fields of ConditionTable."""

    kind: str
    pattern: str = ""

    @property
    def keys(self) -> dict[str, str]:
        """The keys of dataset.json."""
        return {"match": self.kind} | ({"pattern": self.pattern} if self.pattern else {})


MATCHES = (Match("exact"), Match("prefix"), *(Match("pattern", pattern) for pattern in _PATTERNS))


@dataclass(frozen=True)
class MatchedRows:
    """The row of each case that has one; the names of the other cases, the ids of the other rows, and advice on both."""

    path: Path
    column: str
    rows: Mapping[str, Row]
    cases_left: tuple[str, ...] = ()
    ids_left: tuple[str, ...] = ()
    advice: str = ""

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence on the cases without a row, one on the rows without a case; the advice is part of the first."""
        advice, cases, ids = self.advice and f"; {self.advice}", len(self.cases_left), len(self.ids_left)
        warnings = []
        if cases:
            warnings.append(f"{self.path}: {cases} of {cases + len(self.rows)} cases have no row "
                            f"({listed(self.cases_left)}){advice}")
        if ids:
            warnings.append(f"{self.path}: {ids} row{'s' * (ids > 1)} without a case ({listed(self.ids_left)})"
                            + (advice if not cases else ""))
        return tuple(warnings)


def match_rows(names: Sequence[str], content: Table, declared: ConditionTable) -> MatchedRows:
    """The rows of cases as `declared` says: by the whole name, by a whole part of it up to a separator, or by a pattern.

    Where several ids are the beginning of a name, the longest counts. Raises UserError where the column is not there or
    a case has several rows.
    """
    place = content.position(declared.id)
    if place is None:
        raise no_column(content, declared.id, "conditions: id, the column of the cases' names")
    rows: dict[str, list[Row]] = {}
    for row in content.rows:
        rows.setdefault(row.cells[place], []).append(row)
    ids = ids_of_cases(names, rows, Match(declared.match, declared.pattern))
    used = set(ids.values())
    several = [f"{text} in lines {', '.join(str(row.line) for row in rows[text])}" for text in dict.fromkeys(ids.values())
               if len(rows[text]) > 1]
    if several:
        raise UserError("cases have several rows", where=content.path, found="; ".join(several),
                        expected="one row per case" if declared.match == "exact" else "one row per id",
                        do="keep the row that is true when the patient is scanned")
    left = [(row.cells[place], row.line) for row in content.rows if row.cells[place] not in used]
    cases_left = tuple(name for name in names if name not in ids)
    advice = _advice(names, rows, cases_left, [text for text, _ in left if text], len(ids))
    return MatchedRows(content.path, declared.id, {name: rows[text][0] for name, text in ids.items()}, cases_left,
                       tuple(text or f"none in line {line}" for text, line in left), advice)


def ids_of_cases(names: Sequence[str], ids: Collection[str], match: Match) -> dict[str, str]:
    """The id of each case that has one among `ids`."""
    candidates: Mapping[str, Callable[[str], Iterator[str]]] = {
        "exact": lambda name: iter((name,)), "prefix": _beginnings, "pattern": lambda name: _part(name, match.pattern)}
    by_case: dict[str, str] = {}
    for name in names:
        first = next((text for text in candidates[match.kind](clean(name)) if text and text in ids), None)
        if first is not None:
            by_case[name] = first
    return by_case


def best_match(names: Sequence[str], ids: Mapping[str, int], matches: Sequence[Match] = MATCHES
               ) -> tuple[Match, dict[str, str]]:
    """The match that gives most cases a row, the strictest of several, and the id of each case.

    `ids` counts the rows of each id. A match is passed over by which a case would have several rows, or cases one row whose
    names differ up to the end of the id (095 and 95).
    """
    best, best_ids = matches[0], ids_of_cases(names, ids, matches[0])
    for match in matches[1:]:
        by_case = ids_of_cases(names, ids, match)
        beginnings = {(text, _beginning(name, match)) for name, text in by_case.items()}
        unsound = any(ids[text] > 1 for text, _ in beginnings) or len({text for text, _ in beginnings}) < len(beginnings)
        if len(by_case) > len(best_ids) and not unsound:
            best, best_ids = match, by_case
    return best, best_ids


def no_column(content: Table, column: str, key: str) -> UserError:
    """The fault of a table that lacks a column which `key` of dataset.json names."""
    names = [name for name in content.columns if name]
    return UserError(f"there is no column {column!r}{hint(column, names)}", where=content.path,
                     found=", ".join(names), do=f"correct {key} in {DATASET_JSON}, or the table's header")


def _beginnings(name: str) -> Iterator[str]:
    """A name, and what is before each of its separators, the longest first."""
    yield name
    for end in range(len(name) - 1, 0, -1):
        if not name[end].isalnum():
            yield name[:end]


def _beginning(name: str, match: Match) -> str:
    """What of a name a pattern fits; nothing of another match."""
    fit = re.search(match.pattern, clean(name)) if match.kind == "pattern" else None
    return fit[0] if fit else ""


def _part(name: str, pattern: str) -> Iterator[str]:
    fit = re.search(pattern, name)
    if fit is not None and fit[1]:
        yield clean(fit[1])


def _advice(names: Sequence[str], rows: Mapping[str, Sequence[Row]], cases_left: Sequence[str], ids_left: Sequence[str],
            matched: int) -> str:
    """What left rows and left cases have to do with each other, and what to write; empty where nothing is seen."""
    if not cases_left or not ids_left:
        return ""
    parts = []
    pairs = _alike(cases_left, ids_left)
    if pairs:
        parts.append("; ".join(f"{text} looks like {name}" for text, name in pairs[:_EXAMPLES])
                     + ": spreadsheets remove leading zeros, and capitals, separators, spaces and endings count; write the "
                       "names of the cases into the table, in a column of the type text")
    elif any(map(is_date, ids_left)) and not any(map(is_date, cases_left)):
        parts.append("the ids look like dates, which spreadsheets make of names such as 1-2; correct the column as text")
    elif any(_SHORTENED.fullmatch(text) for text in ids_left):
        parts.append("a spreadsheet has shortened long numbers among the ids; correct the column as text")
    match, ids = best_match(names, {text: len(same) for text, same in rows.items()})
    if len(ids) > matched:
        example = next(name for name in cases_left if name in ids)
        keys = ", ".join(f'"{key}": "{value}"' for key, value in match.keys.items())
        parts.append(f"with {keys} under conditions in {DATASET_JSON}, {len(ids)} of {len(names)} cases have a row "
                     f"({ids[example]} for {example})")
    return ", or ".join(parts)


def _alike(cases: Sequence[str], ids: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of an id and a case that only differ in how they are written, none of them alike to a third."""
    mere_numbers = [text for text in ids if not any(map(str.isalpha, text))]
    for key, compared in ((_spelling, ids), (_without_zeros, ids), (_of_file, ids), (_numbers, mere_numbers)):
        by_key: dict[Key, tuple[set[str], set[str]]] = {}
        for side, texts in enumerate((compared, cases)):
            for text in texts:
                by_key.setdefault(key(text), (set(), set()))[side].add(text)
        pairs = [(min(left), min(right)) for parts, (left, right) in by_key.items()
                 if parts and len(left) == 1 and len(right) == 1]
        if pairs:
            return pairs
    return []


def _spelling(text: str) -> Key:
    return tuple(_RUNS.findall(text.casefold()))


def _without_zeros(text: str) -> Key:
    whole = re.sub(r"(?<=\d)[.,]0+$", "", text)  # 95.0
    return tuple(run.lstrip("0") or "0" if run.isdigit() else run for run in _spelling(whole))


def _of_file(text: str) -> Key:
    """Of a file's name the case's part."""
    return _without_zeros(_FILE_NAME.sub(r"\1", text))


def _numbers(text: str) -> Key:
    return tuple(run for run in _without_zeros(text) if run.isdigit())
