"""What a column of a clinical table could be used for, judged by its name and its cells."""

from dataclasses import dataclass

from autoseg.clinical.cells import category_text, is_date, read_numbers
from autoseg.clinical.leakage import outcome_word, words_of

# Times that say when and how a site scans, and what it scans with.
_TIMES = frozenset({"time", "day", "days", "week", "weeks", "hour", "hours", "interval", "delay", "gap"})
_SCANS = frozenset({"scan", "scans", "mri", "mr", "ct", "pet", "imaging", "acquisition", "examination", "exam"})
_DEVICES = frozenset({"scanner", "manufacturer", "vendor", "protocol", "kernel", "kvp", "coil", "tesla", "tracer"})
_PLACES = frozenset({"hospital", "centre", "center", "institution", "institute", "clinic"})
_SITE_WORDS = frozenset({"site", "id", "no", "number", "code", "name", "study"})  # "site of the tumour" is another site
_PATIENTS = frozenset({"patient", "subject", "participant", "mrn", "pid"})
_IDENTIFIERS = frozenset({"id", "ids", "identifier", "uid", "no", "nr", "number", "code", "index", "accession", "key",
                          "name"})
_DATES = frozenset({"date", "dates", "dob", "birthdate", "birthday", "datum"})
_UNIQUE = 0.9  # share of cells with a value of their own, from which a text identifies the patient
_FEW_CELLS = 5  # of which uniqueness says nothing
_FREE_TEXT_WORDS = 6
_MOSTLY_NUMBERS = 0.8
_CODES = 5  # whole numbers that are as few may be codes
_MANY_VALUES = 1 / 3  # of the cases: most categories would then be too rare to learn from
_YEARS = (1900, 2100)


@dataclass(frozen=True)
class Column:
    """A column's name and filled cells, of `n_cases` cases."""

    name: str
    cells: tuple[str, ...]
    n_cases: int
    decimal_comma: bool = False

    @property
    def values(self) -> set[str]:
        """The different ones."""
        return {category_text(cell) for cell in self.cells}


@dataclass(frozen=True)
class Verdict:
    """`kind` is what the input is used as, empty where it is refused; `reason` is why, or what to check.

    `group`: the column identifies the `patient` or the `site` of a case.
    """

    name: str
    kind: str
    reason: str
    group: str = ""

    @property
    def accepted(self) -> bool:
        return bool(self.kind)


def judge_column(column: Column) -> Verdict:
    """Use a column as a number or a category, or refuse it as outcome, date, identifier, free text, constant, or as
    something that tells a site's habits.
    """
    distinct = column.values
    reason, group = _refusal_by_name(column)
    if not reason and len(distinct) < 2:
        reason = f"constant: {next(iter(distinct))!r} in every case that has it" if distinct else "constant: it is empty"
    if not reason and _is_date(column):
        reason = "a date: it tells when a patient was scanned; write what it stands for, such as an age"
    if reason:
        return Verdict(column.name, "", reason, group)
    numbers = read_numbers(column.cells, column.decimal_comma)
    known = [number for number in numbers if number is not None]
    if len(known) == len(numbers):
        return _judge_numbers(column, known)
    if len(known) >= _MOSTLY_NUMBERS * len(numbers):
        texts = [cell for cell, number in zip(column.cells, numbers, strict=True) if number is None]
        return Verdict(column.name, "", f"numbers with text among them: {', '.join(map(repr, texts[:3]))}; correct these "
                       "cells, or declare a category")
    return _judge_texts(column, len(distinct))


def _refusal_by_name(column: Column) -> tuple[str, str]:
    """Why a column is refused for its name, and the group that it identifies; both are empty where it is not refused."""
    words = set(words_of(column.name))
    if word := outcome_word(column.name):
        return f"an outcome, by the word {word!r}: not known when the patient is scanned", ""
    if words & _PLACES or ("site" in words and words <= _SITE_WORDS):
        return "the site: a model would learn who drew the contours; it belongs to groups", "site"
    if words & _DEVICES or (words & _TIMES and words & _SCANS):
        return "it tells the site's habits (when and how it scans), not the patient's disease", ""
    if words & _PATIENTS and words <= _PATIENTS | _IDENTIFIERS:
        return "an identifier of the patient", "patient" if len(column.values) < len(column.cells) else ""
    return "", ""


def _is_date(column: Column) -> bool:
    if all(is_date(cell) for cell in column.cells):
        return True
    words = set(words_of(column.name))
    years = read_numbers(column.cells)
    calendar = all(year is not None and _YEARS[0] <= year <= _YEARS[1] for year in years)
    return bool(words & _DATES) or ("year" in words and calendar)


def _judge_numbers(column: Column, numbers: list[float]) -> Verdict:
    distinct = len(set(numbers))
    whole = all(number.is_integer() for number in numbers)
    if whole and distinct == len(numbers) >= _FEW_CELLS:
        if set(words_of(column.name)) & _IDENTIFIERS:
            return Verdict(column.name, "", "an identifier: whole numbers of which no two are the same")
        if max(numbers) - min(numbers) == distinct - 1:
            return Verdict(column.name, "", "an identifier: it numbers the rows")
    if whole and distinct <= 2:
        return Verdict(column.name, "category", f"{distinct} values")
    if whole and distinct <= _CODES and len(numbers) >= 4 * distinct:
        return Verdict(column.name, "category", f"{distinct} whole numbers; for ranks write ordinal and their order")
    return Verdict(column.name, "number", f"{min(numbers):g} to {max(numbers):g}{_holes(column)}")


def _judge_texts(column: Column, distinct: int) -> Verdict:
    n_words = sum(len(cell.split()) for cell in column.cells) / len(column.cells)
    unique = len(column.cells) >= _FEW_CELLS and distinct >= _UNIQUE * len(column.cells)
    if n_words > _FREE_TEXT_WORDS:
        return Verdict(column.name, "", f"free text: {n_words:.0f} words per case")
    if unique:
        return Verdict(column.name, "", f"an identifier or free text: {distinct} different values in "
                       f"{len(column.cells)} cases")
    many = "; most are too rare to learn from" if distinct > max(2, _MANY_VALUES * column.n_cases) else ""
    return Verdict(column.name, "category", f"{distinct} values{_holes(column)}{many}")


def _holes(column: Column) -> str:
    missing = column.n_cases - len(column.cells)
    return f", missing in {missing} of {column.n_cases} cases" if missing else ""
