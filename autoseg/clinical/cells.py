"""Cells of a clinical table as people write them: what counts as missing, numbers, categories, dates."""

import math
import re
import unicodedata
from collections.abc import Sequence
from decimal import Decimal

_MISSING = frozenset({"", "n/a", "na", "n.a.", "n.a", "#n/a", "#na", "<na>", "nan", "none", "null", "unknown", "missing",
                      "not available", "."})
# `#VALUE!`, `#¿NOMBRE?`, `#N/A`, `#NV`, a column that was too narrow (`####`), LibreOffice's `Err:502`
_FORMULA_ERROR = re.compile(r"#[¡¿]?[^\W\d_][^\s!?]*\s?[!?]|#n/?[a-z]|#{2,}|err:\d{3}|#getting_data", re.IGNORECASE)
_STROKES = re.compile(r"[-‐‑‒–—―−]+|\?+")
_SPACES = re.compile(r"\s+")
_INVISIBLE = re.compile("[\u200b\u200c\u200d\u2060\ufeff]")

_COMPARED = re.compile(r"(?:[<>]=?|[=≤≥~≈]|ca\.?(?=[\s\d])|approx\.?(?=[\s\d]))\s*", re.IGNORECASE)
_NUMBER = re.compile(r"(?P<sign>[+-]?)\s?(?P<body>\d[\d.,' ]*|[.,]\d+)(?P<power>e[+-]?\d+)?\s*(?P<unit>\D.*)?",
                     re.IGNORECASE)
_GROUPED = re.compile(r"[1-9]\d{0,2}(?:[' ]\d{3})+(?=[.,]|$)")  # 1 234, 1'234
# The two ways to write a number; both hold without separators and for one separator before three digits.
_POINT = re.compile(r"\d+\.?\d*|\.\d+|[1-9]\d{0,2}(?:,\d{3})+(?:\.\d*)?")
_COMMA = re.compile(r"\d+,?\d*|,\d+|[1-9]\d{0,2}(?:\.\d{3})+(?:,\d*)?")

# Both signs of the micro are folded to the Greek letter, as `casefold` does.
_UNITS = {**dict.fromkeys(("y", "yr", "yrs", "year", "years", "yo", "y/o"), "years"),
          **dict.fromkeys(("mo", "month", "months"), "months"), **dict.fromkeys(("wk", "week", "weeks"), "weeks"),
          **dict.fromkeys(("d", "day", "days"), "days"),
          **{unit: unit for unit in (
              "%", "kg", "g", "mg", "μg", "ug", "ng", "pg", "l", "dl", "ml", "μl", "cc", "m", "cm", "mm", "cm2", "mm2",
              "cm3", "mm3", "kg/m2", "mmhg", "bpm", "u/l", "iu/l", "u/ml", "iu/ml", "iu", "ng/ml", "pg/ml", "μg/l", "ug/l",
              "mg/dl", "mg/l", "g/dl", "g/l", "mmol/l", "μmol/l", "umol/l", "suv", "hu", "gy", "°c")}}

_POINTS_OF_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+")
_PLAIN = re.compile(r"[+-]?\d+(?:[.,]\d+)?")
_DATE = re.compile(r"(?:\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[-/.]\d{1,2}[-/.](?:\d{4}|\d{2})|(?:19|20)\d\d(?:0[1-9]|1[0-2])"
                   r"(?:0[1-9]|[12]\d|3[01])|\d{1,2}[-. ]?[a-zä]{3,9}[-. ,]*\d{2,4}|[a-zä]{3,9}[-. ]\d{1,2},? \d{4})"
                   r"(?:[ T]\d{1,2}:\d\d.*)?", re.IGNORECASE)


def clean(text: str) -> str:
    """A text in composed Unicode, its white space single and none at its ends."""
    return _SPACES.sub(" ", _INVISIBLE.sub("", unicodedata.normalize("NFC", text))).strip()


def is_missing(text: str) -> bool:
    """Whether a cell says that nothing is known, or a formula failed; case, brackets and kinds of dashes do not matter.

    >>> [is_missing(text) for text in ("", "--", "N/A", "[Unknown]", "0", "no")]
    [True, True, True, True, False, False]
    """
    word = clean(text).strip("[]()").casefold()
    return word in _MISSING or _STROKES.fullmatch(word) is not None or is_formula_error(text)


def is_formula_error(text: str) -> bool:
    """Whether a cell holds what a spreadsheet writes where a formula fails.

    >>> [is_formula_error(text) for text in ("#VALUE!", "#REF!", "#N/A", "#DIV/0!", "#3", "n/a")]
    [True, True, True, True, False, False]
    """
    return _FORMULA_ERROR.fullmatch(clean(text)) is not None


def read_numbers(cells: Sequence[str], decimal_comma: bool = False) -> list[float | None]:
    """The numbers of a column's filled cells; None where a cell is none, or could be two.

    `>=90`, `<5` and `~3` are the number that they name. `1,234` is ambiguous: where another cell of the column has a
    decimal point (`3.5`) it is 1234, where one has a decimal comma (`3,5`) or cells of the file are separated by `;`
    (`decimal_comma`) it is 1.234, else it is no number. A known unit may follow, the same in the whole column.

    >>> read_numbers(["59 y", ">=90", "1.5", "1,200", "many"])
    [59.0, 90.0, 1.5, 1200.0, None]
    """
    parts = [_parts(cell) for cell in cells]
    units = {unit for _, _, unit in filter(None, parts)}
    mixed_units = len(units - {""}) > 1 or {"", "%"} <= units
    readings = [(None, None) if part is None or (mixed_units and part[2]) else _readings(*part[:2]) for part in parts]
    point_seen = any(point is not None and comma is None for point, comma in readings)
    comma_seen = any(point is None and comma is not None for point, comma in readings)
    return [_decided(point, comma, point_seen, comma_seen, decimal_comma) for point, comma in readings]


def unit_of(cell: str) -> str:
    """The known unit that follows the number of a cell; empty where there is none.

    >>> [unit_of(cell) for cell in ("59 y", "7 months", "63", "many")]
    ['years', 'months', '', '']
    """
    parts = _parts(cell)
    return "" if parts is None else parts[2]


def could_be_thousands(cells: Sequence[str]) -> list[bool]:
    """Which cells of a number column hold a point before three digits, where no cell has another point.

    >>> could_be_thousands(["850", "1.200"]), could_be_thousands(["0.5", "1.200"])
    ([False, True], [False, False])
    """
    grouped = [_POINTS_OF_THOUSANDS.fullmatch(clean(cell)) is not None for cell in cells]
    others = any("." in cell and not is_grouped for cell, is_grouped in zip(cells, grouped, strict=True))
    return [is_grouped and not others for is_grouped in grouped]


def category_text(value: float | str) -> str:
    """A category in its one spelling, by which tables, encoders and groups compare: `1`, `1.0` and `01` are the same.

    Only what is written as a plain number changes. `1_2` and `1e3` stay as they are, since both may be codes.

    >>> [category_text(value) for value in ("1.0", " 01", "2,50", 3.0, "1_2", "1e3", "T1  a")]
    ['1', '1', '2.5', '3', '1_2', '1e3', 'T1 a']
    """
    text = clean(str(value))
    if _PLAIN.fullmatch(text) is None and not isinstance(value, float):
        return text
    number = Decimal(text.replace(",", "."))
    return format(number.normalize(), "f") if number else "0"


def is_date(text: str) -> bool:
    """Whether a cell looks like a date, such as 2020-01-31, 31.1.20, 20200131 or 3 Feb 2020."""
    return _DATE.fullmatch(clean(text)) is not None


def _parts(cell: str) -> tuple[str, str, str] | None:
    """Sign and digits of a cell, its power of ten, its unit; None where it is no number."""
    text = clean(cell)
    compared = _COMPARED.match(text)
    text = re.sub(r"^[‐‑‒–−]", "-", text[compared.end():] if compared else text)
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    written = (match["unit"] or "").strip(" .").casefold()
    if written and written not in _UNITS:
        return None
    body = match["body"].strip()
    if _GROUPED.match(body):
        body = re.sub("[' ]", "", body)
    return match["sign"] + body, match["power"] or "", _UNITS.get(written, "")


def _readings(digits: str, power: str) -> tuple[float | None, float | None]:
    """The value with a decimal point, the value with a decimal comma; None where it cannot be written so."""
    body, sign = digits.lstrip("+-"), -1.0 if digits.startswith("-") else 1.0
    point = sign * float(body.replace(",", "") + power) if _POINT.fullmatch(body) else None
    comma = sign * float(body.replace(".", "").replace(",", ".") + power) if _COMMA.fullmatch(body) else None
    return _finite(point), _finite(comma)


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isinf(value) else value


def _decided(point: float | None, comma: float | None, point_seen: bool, comma_seen: bool, decimal_comma: bool
             ) -> float | None:
    """One of two readings, by how the column's other cells are written."""
    if point is None or comma is None or point == comma:
        return comma if point is None else point
    if abs(comma) > abs(point):  # 1.234
        return None if comma_seen else point
    if point_seen != comma_seen:
        return point if point_seen else comma
    return comma if decimal_comma and not point_seen else None
