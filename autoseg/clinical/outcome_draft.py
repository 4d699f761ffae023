"""A draft of `outcomes` for dataset.json, from the columns of a table whose names look like outcomes.

A column of times and one of events make survival: those of one abbreviation (`OS_months`, `OS_event`), else the status with
the last contact. The other columns are categories or numbers. Treatments are no outcomes.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from autoseg.clinical.cells import category_text, read_numbers
from autoseg.clinical.columns import Column
from autoseg.clinical.leakage import outcome_word, words_of


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_ABBREVIATIONS = _words("os pfs dfs efs rfs lrfs mfs dmfs dss css ttp ttr ttd ttf")
_TREATMENTS = _words("treatment treatments treated therapy therapies chemo chemotherapy radiotherapy chemoradiotherapy",
                     "immunotherapy radiochemotherapy surgery resection behandlung therapie traitement tratamiento")
_TIMES = _words("time day days week weeks month months year years followup tte ttp ttr ttd ttf")
_HAPPENED = {"1": 1, "yes": 1, "dead": 1, "deceased": 1, "died": 1, "death": 1, "d": 1, "dod": 1, "true": 1,
             "0": 0, "no": 0, "alive": 0, "living": 0, "ned": 0, "awd": 0, "censored": 0, "false": 0}
_FEWEST_OF_EACH = 2
_MOST_CATEGORIES = 5


def draft_outcomes(columns: Sequence[Column]) -> dict[str, dict[str, Any]]:
    """What `outcomes` could say; empty where no column looks like an outcome."""
    likely = [column for column in columns if outcome_word(column.name) and not set(words_of(column.name)) & _TREATMENTS]
    times = [column for column in likely if _is_time(column)]
    events = [column for column in likely if column not in times and _meaning(column)]
    draft: dict[str, dict[str, Any]] = {}
    used: set[str] = set()
    for event in events:
        time = _time_of(event, times)
        if time is not None and time.name not in used:
            meaning = _meaning(event)
            named = {} if set(meaning) <= {"0", "1"} else {"event_values": meaning}
            draft[_name(draft, event, "survival")] = {"kind": "survival", "time": time.name, "event": event.name, **named}
            used |= {time.name, event.name}
    for column in likely:
        kind = "" if column.name in used or column in times else _kind(column)
        if kind:
            draft[_name(draft, column, kind)] = {"kind": kind, "column": column.name}
    return draft


def _is_time(column: Column) -> bool:
    words = set(words_of(column.name))
    numbers = read_numbers(column.cells, column.decimal_comma)
    return bool(words & (_TIMES | _ABBREVIATIONS)) and len(column.values) > 2 and None not in numbers


def _meaning(column: Column) -> dict[str, int]:
    """What each text of a column says of the event; empty where one of them is not known, or all say the same."""
    meaning = {text: _HAPPENED[text.casefold()] for text in sorted(column.values) if text.casefold() in _HAPPENED}
    return meaning if len(meaning) == len(column.values) and set(meaning.values()) == {0, 1} else {}


def _time_of(event: Column, times: Sequence[Column]) -> Column | None:
    """The column of times of an event: by a shared abbreviation, else the last contact, else the only one."""
    shared = [time for time in times if set(words_of(time.name)) & set(words_of(event.name)) & _ABBREVIATIONS]
    last = [time for time in times if {"follow", "followup", "contact"} & set(words_of(time.name))]
    candidates = shared or last or list(times)
    return candidates[0] if len(candidates) == 1 else None


def _kind(column: Column) -> str:
    counts = Counter(category_text(cell) for cell in column.cells)
    if 2 <= len(counts) <= _MOST_CATEGORIES and min(counts.values()) >= _FEWEST_OF_EACH:
        return "category"
    numbers = read_numbers(column.cells, column.decimal_comma)
    return "number" if numbers and None not in numbers and len(counts) > _MOST_CATEGORIES else ""


def _name(taken: dict[str, dict[str, Any]], column: Column, kind: str) -> str:
    """A short name that no other outcome has: the abbreviation in the column's name, else `survival`, or its first words."""
    words = words_of(column.name)
    known = next((word for word in words if word in _ABBREVIATIONS), "")
    plain = known or (kind if kind == "survival" else "_".join(re.sub(r"\W", "", word) for word in words[:3]))
    name, number = plain, 2
    while name in taken:
        name, number = f"{plain}_{number}", number + 1
    return name
