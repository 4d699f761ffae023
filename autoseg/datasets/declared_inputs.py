"""What `dataset.json` declares beside images and labels: conditions, groups, outcomes, which labels a case's mask holds."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from pydantic import Field, TypeAdapter, field_validator, model_validator

from autoseg.base.errors import hint
from autoseg.clinical.cells import clean
from autoseg.clinical.leakage import outcome_word
from autoseg.clinical.outcomes import OutcomeSpec
from autoseg.datasets.declarations import Document, shown
from planners.schema.base import Frozen
from planners.schema.conditions import ConditionSpec, ConditionTable
from planners.schema.labels import LabelSpec
from planners.schema.names import fault_of_name

BASELINE = "baseline"
_ALLOW = ("remove it; if it is known before the scan, or the model should use it anyway, pass "
          "--allow-outcome-conditions")


class Groups(Frozen):
    """Columns of the table that say which cases belong together; empty: not said."""

    patient: str = ""
    site: str = ""


class _Column(Frozen):
    kind: Literal["number", "category", "ordinal"]
    transform: Literal["none", "log"] = "none"
    order: tuple[str, ...] = ()
    available_at: str = BASELINE

    @field_validator("kind", mode="before")
    @classmethod
    def _no_date(cls, kind: Any) -> Any:
        if kind == "date":
            raise ValueError("a date cannot condition a model: it tells when and where a patient was scanned, and is new "
                             "for every new patient; write what it stands for as a number, such as the age in years")
        return kind

    @field_validator("available_at")
    @classmethod
    def _spelled(cls, text: str) -> str:
        return BASELINE if text.strip().lower() == BASELINE else text

    @model_validator(mode="after")
    def _check(self) -> "_Column":
        if (self.kind == "ordinal") != bool(self.order):
            raise ValueError("an ordinal column, and no other, lists its values under 'order'")
        if len(set(self.order)) < len(self.order):
            raise ValueError("a value is listed twice under 'order'")
        if self.transform != "none" and self.kind != "number":
            raise ValueError("only a number can be transformed")
        return self


class _Conditions(Frozen):
    table: str = ""
    id: str = "case"
    match: Literal["exact", "prefix", "pattern"] = "exact"
    pattern: str = ""
    columns: dict[str, _Column] = Field(default_factory=dict)
    vectors: dict[str, str] = Field(default_factory=dict)
    tokens: dict[str, str] = Field(default_factory=dict)

    @field_validator("pattern")
    @classmethod
    def _has_one_group(cls, text: str) -> str:
        try:
            groups = re.compile(text).groups if text else 1
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"'pattern' is not a regular expression: {error}") from None
        if groups != 1:
            raise ValueError(f"'pattern' has {groups} groups in parentheses, and needs one, which is the id: such as "
                             "(P[0-9]+)_.* for case P017_2020")
        return text

    @model_validator(mode="after")
    def _check(self) -> "_Conditions":
        if (self.match == "pattern") != bool(self.pattern):
            raise ValueError("'pattern' and \"match\": \"pattern\" belong together: neither is used without the other")
        if self.match != "exact" and not self.table:
            raise ValueError("'match' says how rows belong to cases, but there is no 'table'")
        if self.columns and not self.table:
            raise ValueError("'columns' need the file that holds them, under 'table'")
        names = [*self.columns, *self.vectors, *self.tokens]
        if len(set(names)) < len(names):
            raise ValueError("columns, vectors and tokens share a name")
        if self.id in self.columns:
            raise ValueError(f"the column {self.id!r} names the cases and cannot be a condition")
        return self


class _FromColumn(Frozen):
    column: str = Field(min_length=1)


def read_condition_table(document: Document) -> tuple[ConditionTable, tuple[str, ...]]:
    """The conditions in the order columns, vectors, tokens, and a sentence for each that looks like an outcome."""
    given: _Conditions = document.typed("conditions", TypeAdapter(_Conditions), _Conditions())
    specs = [ConditionSpec(name=name, **column.model_dump()) for name, column in given.columns.items()]
    specs += [ConditionSpec(name=name, kind="vector", folder=folder) for name, folder in given.vectors.items()]
    specs += [ConditionSpec(name=name, kind="tokens", folder=folder) for name, folder in given.tokens.items()]
    table = ConditionTable(table=given.table, id=given.id, match=given.match, pattern=given.pattern, specs=tuple(specs))
    return table, tuple(_outcomes(document, given))


def _outcomes(document: Document, given: _Conditions) -> Iterator[str]:
    for name, column in given.columns.items():
        if column.available_at != BASELINE:
            yield document.sentence(("conditions", "columns", name, "available_at"),
                                    f"an outcome as a condition: {name!r} is not known when the patient is scanned",
                                    found=shown(column.available_at), expected=repr(BASELINE), do=_ALLOW)
        else:
            yield from _outcome_name(document, "columns", name)
    for part, names in (("vectors", given.vectors), ("tokens", given.tokens)):
        for name in names:
            yield from _outcome_name(document, part, name)


def _outcome_name(document: Document, part: str, name: str) -> Iterator[str]:
    word = outcome_word(name)
    if word:
        yield document.sentence(("conditions", part, name), f"an outcome as a condition: {name!r} looks like what happened "
                                f"after the scan (the word {word!r})", at_key=True, do=_ALLOW)


def read_outcome_specs(document: Document, conditions: ConditionTable) -> dict[str, OutcomeSpec]:
    """The outcomes by name; a fault where there is no table, and for each column that is also a condition or the id."""
    specs: dict[str, OutcomeSpec] = document.typed("outcomes", TypeAdapter(dict[str, OutcomeSpec]), {})
    if specs and not _has_table(document):
        document.fault(("outcomes",), "'outcomes' names columns, but there is no table", at_key=True,
                       do="name the file under conditions: table")
    inputs = {clean(spec.name) for spec in conditions.specs}  # as tables compare names
    for name, spec in specs.items():
        if not fault_of_name(name):
            for column in dict.fromkeys(spec.columns):
                _refuse_input(document, name, column, is_condition=clean(column) in inputs,
                              is_id=clean(column) == clean(conditions.id))
        else:
            document.fault(("outcomes", name), f"an outcome cannot have the name {name!r}", at_key=True,
                           found=fault_of_name(name), do="files are named after it: give it a plain name, such as os")
    return specs


def _refuse_input(document: Document, name: str, column: str, *, is_condition: bool, is_id: bool) -> None:
    if is_condition:
        document.fault(("outcomes", name), f"the column {column!r} is a condition and belongs to the outcome {name!r}",
                       at_key=True, expected="a column is an input or an outcome, never both",
                       do="take it out of the conditions, or out of the outcomes")
    if is_id:
        document.fault(("outcomes", name), f"the column {column!r} names the cases and cannot be an outcome", at_key=True)


def read_groups(document: Document) -> Groups:
    """The columns that group the cases; a fault where there is no table."""
    groups: Groups = document.typed("groups", TypeAdapter(Groups), Groups())
    if groups != Groups() and not _has_table(document):
        document.fault(("groups",), "'groups' names columns, but there is no table", at_key=True,
                       do="name the file under conditions: table")
    return groups


def read_labels_present(document: Document, labels: LabelSpec | None) -> tuple[dict[str, tuple[str, ...]] | None, str]:
    """The foreground names that were annotated in each case that is named, or the column of the table that says so.

    `labels` is None where they are at fault; names are then not looked at.
    """
    given = document.get("labels_present")
    if given is None:
        return None, ""
    place = ("labels_present",)
    if isinstance(given, dict) and isinstance(given.get("column"), str):
        declared: _FromColumn | None = document.typed(*place, TypeAdapter(_FromColumn), None)
        if not _has_table(document):
            document.fault((*place, "column"), "'labels_present' names a column, but there is no table",
                           do="name the file under conditions: table")
        return None, declared.column if declared else ""
    if not isinstance(given, dict):
        document.fault(place, "'labels_present' is not an object", found=shown(given),
                       expected='{"CASE": ["liver"], ...} or {"column": "NAME"}')
        return None, ""
    return {case: _annotated(document, case, names, labels) for case, names in given.items()}, ""


def read_case_weight(document: Document) -> str:
    """The column of the table that says how often each case is drawn in training; empty: none."""
    given = document.get("case_weight")
    if given is None:
        return ""
    if not isinstance(given, dict) or not given.get("column"):
        document.fault(("case_weight",), "'case_weight' names no column of the table", found=shown(given),
                       expected='{"column": "NAME"}')
        return ""
    declared: _FromColumn | None = document.typed("case_weight", TypeAdapter(_FromColumn), None)
    if declared is not None and not _has_table(document):
        document.fault(("case_weight", "column"), "'case_weight' names a column, but there is no table",
                       do="name the file under conditions: table")
    return declared.column if declared else ""


def read_modality_columns(document: Document, channels: Sequence[str]) -> dict[str, str]:
    """For each channel of several modalities the column of the table that says which one a case has; a fault where there is
    no table. A text alone is the column of the only channel.
    """
    given = document.get("modality_column")
    if given is None:
        return {}
    place = ("modality_column",)
    if isinstance(given, str) and len(channels) == 1:
        given = {channels[0]: given}
    elif not isinstance(given, dict) or not given:
        example = json.dumps({name: "modality" for name in channels[:1]})
        document.fault(place, "'modality_column' does not say which column is of which channel", found=shown(given),
                       expected=example if len(channels) > 1 else f'{example}, or the name of a column')
        return {}
    columns: dict[str, str] = {}
    for name, column in given.items():
        if channels.count(name) != 1:
            known = [channel for channel in channels if channels.count(channel) == 1]
            what = f"{channels.count(name)} channels are called {name!r}" if name in channels else \
                f"unknown channel {name!r}{hint(name, known)}"
            document.fault((*place, name), what, at_key=True, expected=", ".join(known))
        elif not isinstance(column, str) or not column.strip():
            document.fault((*place, name), f"the column of channel {name!r} is not a text", found=shown(column))
        else:
            columns[name] = column
    if not _has_table(document):
        document.fault(place, "'modality_column' names a column, but there is no table", at_key=True,
                       do="name the file under conditions: table")
    return columns


def _annotated(document: Document, case: str, names: Any, labels: LabelSpec | None) -> tuple[str, ...]:
    place = ("labels_present", case)
    if not isinstance(names, list) or not names:
        document.fault(place, f"the labels of case {case!r} are not a list of names", found=shown(names),
                       expected="the foreground names that were annotated",
                       do="leave out a case in which all were, and take one in which none was out of the dataset")
        return ()
    if labels is None:
        return ()
    document.names_in(place, names, labels.foreground, "foreground label")
    return tuple(name for name in labels.foreground if name in names)


def _has_table(document: Document) -> bool:
    conditions = document.get("conditions")
    return isinstance(conditions, dict) and bool(conditions.get("table"))
