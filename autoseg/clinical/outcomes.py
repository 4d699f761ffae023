"""What happened to patients after the scan, as `outcomes` of dataset.json declares it, read from the clinical table.

An outcome is never an input. A case may lack it: it is then left out of the models of this outcome. All faults of the table
are raised at once.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from autoseg.base.errors import UserError, listed, raise_faults
from autoseg.clinical.cells import category_text, is_date, is_formula_error, is_missing, read_numbers
from autoseg.clinical.matching import match_rows, no_column
from autoseg.clinical.table import Row, Table, read_table
from autoseg.workspace.names import DATASET_JSON
from planners.schema.base import Frozen
from planners.schema.conditions import ConditionTable

FEW_EVENTS = 10  # below, a warning
FEWEST_EVENTS = 5  # below, only models of one feature at a time
MISSING, OTHER = "", "*"  # the keys of `event_values` for a cell that says nothing, and for every other text
_EVENTS = {"0": 0, "1": 1}
_SHOWN_CELLS = 10

Kind = Literal["survival", "category", "number"]


class OutcomeSpec(Frozen):
    """One outcome. `column` holds a category or a number; of survival, `time` holds the time to the event or to the last
    contact, and `event` whether it happened.

    `event_values` says which texts of the column `event` are an event (1) and which are none (0); the text "*" stands for
    all that are not listed, and "" for a cell that says nothing. Without it the cells are 0 and 1. `censored` is the column
    with the last contact of those without an event, where `time` is filled only with an event. `positive` are the texts that
    are one category, against all others as the second.
    """

    kind: Kind
    column: str = ""
    time: str = ""
    event: str = ""
    censored: str = ""
    event_values: dict[str, int] = Field(default_factory=dict)
    positive: tuple[str, ...] = ()

    @field_validator("event_values")
    @classmethod
    def _zero_or_one(cls, values: dict[str, int]) -> dict[str, int]:
        if not set(values.values()) <= {0, 1}:
            raise ValueError("'event_values' gives each text 1 (the event) or 0 (no event)")
        return {category_text(text): value for text, value in values.items()}

    @field_validator("positive", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _check(self) -> "OutcomeSpec":
        of_survival = self.time or self.event or self.censored or self.event_values
        if self.kind == "survival" and (not (self.time and self.event) or self.column or self.positive):
            raise ValueError("an outcome of the kind 'survival' has 'time' and 'event', and may have 'censored' and "
                             "'event_values'")
        if self.kind != "survival" and (not self.column or of_survival):
            raise ValueError(f"an outcome of the kind {self.kind!r} has 'column', the name of its column")
        if self.positive and self.kind != "category":
            raise ValueError("'positive' belongs to an outcome of the kind 'category'")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""
        return tuple(filter(None, (self.column, self.time, self.event, self.censored)))


@dataclass(frozen=True)
class OutcomeValues:
    """What is known of an outcome, in one order of `cases`: a time, a number, or a category as its position in `names`.
    `events` is empty but of survival.
    """

    name: str
    spec: OutcomeSpec
    cases: tuple[str, ...]
    values: tuple[float, ...]
    events: tuple[bool, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def n_events(self) -> int:
        """Of survival the patients with an event, of categories those of the rarer one, of numbers all."""
        if self.spec.kind == "survival":
            return sum(self.events)
        if self.spec.kind == "category":
            return min((self.values.count(code) for code in range(len(self.names))), default=0)
        return len(self.values)


@dataclass(frozen=True)
class OutcomesRead:
    """Outcomes by name, and what a person should know about them."""

    outcomes: Mapping[str, OutcomeValues]
    warnings: tuple[str, ...] = ()


@dataclass
class _Reading:
    """One reading in progress: the rows of the cases, and what is wrong with them so far."""

    content: Table
    rows: Mapping[str, Row]
    faults: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def cells(self, column: str) -> dict[str, str]:
        """The text of each case that has a row; empty where it is missing. Of a formula that failed nothing is known."""
        place = self.content.position(column)
        assert place is not None  # looked at before
        texts = {name: row.cells[place] for name, row in self.rows.items()}
        return {name: "" if is_missing(text) else text for name, text in texts.items() if not is_formula_error(text)}

    def wrong(self, what: str, bad: Mapping[str, object], **more: str) -> None:
        """Note a fault of some cells, all rows at once."""
        shown = [f"{cell!r} (case {name}, line {self.rows[name].line})" for name, cell in bad.items()]
        rest = [f"and {len(shown) - _SHOWN_CELLS} more"] if len(shown) > _SHOWN_CELLS else []
        self.faults.append(str(UserError(what, where=self.content.path, found=", ".join(shown[:_SHOWN_CELLS] + rest),
                                         **more)))

    def numbers(self, column: str, outcome: str) -> dict[str, float]:
        """The numbers of a column; text is a fault."""
        cells = {name: cell for name, cell in self.cells(column).items() if cell}
        read = dict(zip(cells, read_numbers(list(cells.values()), self.content.decimal_comma), strict=True))
        texts = {name: cells[name] for name, number in read.items() if number is None}
        if texts:
            self.wrong(f"text in the column {column!r} of the outcome {outcome!r}", texts, expected="a number",
                       do="correct these cells")
        return {name: number for name, number in read.items() if number is not None}

    def times(self, column: str, outcome: str) -> dict[str, float]:
        """The times of a column; a date is a fault, also one that reads as a number (20200131)."""
        dates = {name: cell for name, cell in self.cells(column).items() if is_date(cell)}
        if not dates:
            return self.numbers(column, outcome)
        self.wrong(f"dates in the column {column!r} of the outcome {outcome!r}", dates,
                   expected="the time from the scan or the diagnosis on, such as a number of days",
                   do="write the difference of the two dates in a column")
        return {}


def read_outcomes(folder: Path, table: ConditionTable, specs: Mapping[str, OutcomeSpec], names: Sequence[str], *,
                  read: Callable[[Path], Table] = read_table) -> OutcomesRead:
    """The outcomes of the training cases `names` of a raw dataset's `folder`.

    Raises UserError or ManyFaults with all faults: a column that is not there, text in a number, a negative time, an event
    that is neither 0 nor 1 and not in `event_values`, an outcome that no case has, a category of a single case. Few events,
    and cases that lack the outcome, are warnings.
    """
    if not specs:
        return OutcomesRead({})
    content = read(folder / table.table)
    reading = _Reading(content, match_rows(names, content, table).rows)
    outcomes = {}
    for name, spec in specs.items():
        absent = [str(no_column(content, column, f"outcomes: {name}")) for column in spec.columns
                  if content.position(column) is None]
        reading.faults += absent
        if not absent:
            before = len(reading.faults)
            outcomes[name] = _READERS[spec.kind](reading, name, spec)
            if len(reading.faults) == before:
                _judge(reading, outcomes[name], len(names))
    raise_faults(folder, list(dict.fromkeys(reading.faults)))
    return OutcomesRead(outcomes, tuple(reading.warnings))


def _survival(reading: _Reading, name: str, spec: OutcomeSpec) -> OutcomeValues:
    events = _events(reading, name, spec)
    time = reading.times(spec.time, name)
    last = time if not spec.censored else reading.times(spec.censored, name)
    known = {case: (time if event else last)[case] for case, event in events.items() if case in (time if event else last)}
    if negative := {case: value for case, value in known.items() if value < 0}:
        reading.wrong(f"negative times of the outcome {name!r}", negative, do="correct these cells",
                      expected="a time from the scan or the diagnosis on")
    if zero := [case for case, value in known.items() if value == 0]:
        reading.warnings.append(f"{reading.content.path}: {len(zero)} cases were followed up for no time, and are left out "
                                f"of the outcome {name!r} ({listed(zero)})")
    cases = tuple(case for case, value in known.items() if value > 0)
    return OutcomeValues(name, spec, cases, tuple(known[case] for case in cases), tuple(events[case] for case in cases))


def _events(reading: _Reading, name: str, spec: OutcomeSpec) -> dict[str, bool]:
    """Whether the event happened, of the cases of which the table says it."""
    meaning = spec.event_values or _EVENTS
    cells = {case: category_text(cell) for case, cell in reading.cells(spec.event).items()}
    known = {case: meaning.get(cell, meaning.get(OTHER) if cell else None) for case, cell in cells.items()}
    strange = {case: cells[case] for case, value in known.items() if value is None and cells[case]}
    if strange:
        words = ", ".join(f'"{word}": ...' for word in dict.fromkeys(strange.values()))
        reading.wrong(f"events of the outcome {name!r} are not 0 or 1", strange, expected=", ".join(meaning),
                      do=f"say in {DATASET_JSON} which are the event (1) and which are not (0): "
                         f'"event_values": {{{words}}}')
    return {case: bool(value) for case, value in known.items() if value is not None}


def _category(reading: _Reading, name: str, spec: OutcomeSpec) -> OutcomeValues:
    texts = {case: category_text(cell) for case, cell in reading.cells(spec.column).items() if cell}
    positive = set(map(category_text, spec.positive))
    if positive:
        strange = positive - set(texts.values())
        if strange:
            reading.faults.append(str(UserError(
                f"the positive category of the outcome {name!r} is in no case", where=reading.content.path,
                found=listed(sorted(set(texts.values()))), expected=listed(sorted(strange)),
                do=f"correct 'positive' in {DATASET_JSON}")))
        joined = " or ".join(spec.positive)
        both = (f"not {joined}" if joined == "other" else "other", joined)
        texts = {case: both[text in positive] for case, text in texts.items()}
        names: tuple[str, ...] = both
    else:
        names = tuple(sorted(set(texts.values())))
    single = [text for text, count in Counter(texts.values()).items() if count == 1]
    if single:
        reading.faults.append(str(UserError(
            f"a category of the outcome {name!r} has one case: nothing can be learned and tested of it",
            where=reading.content.path, found=listed(single), expected="two cases or more of each",
            do="write it as another category, leave its cell empty, or join categories by 'positive'")))
    return OutcomeValues(name, spec, tuple(texts), tuple(float(names.index(text)) for text in texts.values()), names=names)


def _number(reading: _Reading, name: str, spec: OutcomeSpec) -> OutcomeValues:
    numbers = reading.numbers(spec.column, name)
    return OutcomeValues(name, spec, tuple(numbers), tuple(numbers.values()))


_READERS: dict[str, Callable[[_Reading, str, OutcomeSpec], OutcomeValues]] = {
    "survival": _survival, "category": _category, "number": _number}


def _judge(reading: _Reading, outcome: OutcomeValues, n_cases: int) -> None:
    """Notes whether there is enough to learn from."""
    where, name, kind = reading.content.path, outcome.name, outcome.spec.kind
    tells = any(outcome.events) if kind == "survival" else len(set(outcome.values)) > 1
    if not tells:
        lacking = "no case that has it" if not outcome.cases else "no event" if kind == "survival" else "a single value"
        reading.faults.append(str(UserError(f"the outcome {name!r} tells no case from another", where=where, found=lacking,
                                            do=f"correct the table, or the outcome in {DATASET_JSON}")))
    elif outcome.n_events < FEW_EVENTS and kind != "number":
        reading.warnings.append(f"{where}: {few_events(outcome)}")
    if len(outcome.cases) < n_cases:
        reading.warnings.append(f"{where}: the outcome {name!r} is not known of {n_cases - len(outcome.cases)} of {n_cases} "
                                "cases, which are left out of its models")


def few_events(outcome: OutcomeValues) -> str:
    """A sentence on how few events there are, and what that means."""
    what = "events" if outcome.spec.kind == "survival" else "cases of the rarest category"
    less = (": only models of one feature at a time are fitted" if outcome.n_events < FEWEST_EVENTS
            else ": intervals will be wide, and a good score is probably luck")
    return f"the outcome {outcome.name!r} has {outcome.n_events} {what}, fewer than {FEW_EVENTS}{less}"
