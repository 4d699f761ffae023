"""Raw conditions of a patient -> numbers for a network, by an encoder fitted on a fold's training cases only.

An encoded value comes with a mask that says whether it is known. Where it is not, it is 0: the median of a number, the
middle rank, no category, the mean of a vector's entry.
"""

import functools
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from autoseg.base.errors import UserError, listed
from autoseg.clinical.cells import category_text
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoded import ConditionInput, EncodedBag, EncodedConditions, Layout
from autoseg.clinical.outliers import far_from_others
from planners.schema.base import Frozen, versioned
from planners.schema.conditions import ConditionSpec, ConditionTable

logger = logging.getLogger(__name__)

LIMIT = 5.0  # standardised values are clipped here, so that an outlier does not outweigh all else
MAX_TOKENS = 256  # of a bag; more are thinned out evenly
_RARE = 2  # a category of fewer training cases is "other", which must have some to be learned from
_CONSTANT = 1e-6  # a standard deviation below this share of the mean is rounding

Encoded = tuple[np.ndarray, np.ndarray]  # float32 values, and bool: which of them are known
# How an encoder compares categories: by `category_text`, or, where it was stored before that was the one rule, by the
# number that Python's float() reads ("1_2" is "12", "1e3" is "1000"). A network that was trained with the latter keeps it.
Spelling = Literal["text", "float"]


class NumberEncoder(Frozen):
    """A number: its distance from the median of the training cases, in their standard deviations, for which numbers that
    lie far from all others do not count.

    With a `floor` this is of the logarithm, and what lies below the floor counts as the floor.
    """

    kind: Literal["number"] = "number"
    name: str
    median: float
    std: float  # 0: all training cases have the same
    floor: float | None = None

    @property
    def width(self) -> int:
        return 1

    def encode(self, value: float | None) -> Encoded:
        """(1,) and (1,)."""
        if value is None or _is_empty(value):
            return np.zeros(1, np.float32), np.array([False])
        number = _logarithm(_number(self.name, value), self.floor)
        return _standardised(np.array([number]), self.median, self.std), np.array([True])

    @property
    def usual(self) -> float:
        """The median of the training cases."""
        return self.median if self.floor is None else math.exp(self.median)

    def clips(self, value: float | str | None) -> bool:
        """Whether a value lies beyond LIMIT, so that the network is given a smaller distance."""
        if value is None or _is_empty(value) or self.std == 0:
            return False
        return abs(_logarithm(_number(self.name, value), self.floor) - self.median) > LIMIT * self.std


class OrdinalEncoder(Frozen):
    """A rank, scaled to -1 (the first of `order`) to 1 (the last)."""

    kind: Literal["ordinal"] = "ordinal"
    name: str
    order: tuple[str, ...]
    spelling: Spelling = "float"

    @property
    def width(self) -> int:
        return 1

    def encode(self, value: float | str | None) -> Encoded:
        """(1,) and (1,)."""
        if value is None or _is_empty(value):
            return np.zeros(1, np.float32), np.array([False])
        key = spelled(value, self.spelling)
        if key not in self.order:
            _warn_once(self.name, key, "is not in the order that is declared; it counts as missing")
            return np.zeros(1, np.float32), np.array([False])
        scaled = 2 * self.order.index(key) / max(1, len(self.order) - 1) - 1
        return np.array([scaled], np.float32), np.array([True])


class CategoryEncoder(Frozen):
    """One-hot: one entry per category and a last one for any other.

    `rare` are the training cases' categories that are "other". Where there are none, nothing teaches a network what
    "other" means: the entry is set, but not known.
    """

    kind: Literal["category"] = "category"
    name: str
    categories: tuple[str, ...]
    rare: tuple[str, ...] = ()
    spelling: Spelling = "float"

    @property
    def width(self) -> int:
        return len(self.categories) + 1

    def encode(self, value: float | str | None) -> Encoded:
        """(width,) and (width,)."""
        values, known = np.zeros(self.width, np.float32), np.zeros(self.width, bool)
        if value is None or _is_empty(value):
            return values, known
        key = self._category_of(spelled(value, self.spelling))
        if key in self.categories:
            values[self.categories.index(key)], known[:] = 1, True
            return values, known
        if key not in self.rare:
            _warn_once(self.name, key, 'was not seen in training; it counts as "other"')
        values[-1], known[:] = 1, bool(self.rare)
        return values, known

    def _category_of(self, key: str) -> str:
        """The training cases' only category that differs from `key` in upper and lower case, where `key` is none of theirs:
        a workbook has True where a text has TRUE.
        """
        seen = (*self.categories, *self.rare)
        alike = [] if key in seen else [category for category in seen if category.casefold() == key.casefold()]
        if len(alike) != 1:
            return key
        _warn_once(self.name, key, f"counts as {alike[0]!r}, from which it differs in upper and lower case only")
        return alike[0]


class VectorEncoder(Frozen):
    """A vector, standardised entry by entry; an entry that is not finite is not known."""

    kind: Literal["vector"] = "vector"
    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def width(self) -> int:
        return len(self.mean)

    def encode(self, value: np.ndarray | None) -> Encoded:
        """(width,) and (width,); a vector of another width is a UserError."""
        if value is None or _is_empty(value):
            return np.zeros(self.width, np.float32), np.zeros(self.width, bool)
        _check_width(self.name, "vector", value, 1, self.width)
        known = np.isfinite(value)
        values = _standardised(np.where(known, value, self.mean), np.array(self.mean), np.array(self.std))
        return values, known


class TokensEncoder(Frozen):
    """A bag of tokens, each standardised feature by feature; a token with a feature that is not finite is not known."""

    kind: Literal["tokens"] = "tokens"
    name: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def width(self) -> int:
        return len(self.mean)

    def encode(self, value: np.ndarray | None) -> Encoded:
        """(T, width) and (T,), T at most MAX_TOKENS; a missing bag has one unknown token. Another width is a UserError."""
        if value is None or _is_empty(value):
            return np.zeros((1, self.width), np.float32), np.zeros(1, bool)
        _check_width(self.name, "tokens", value, 2, self.width)
        bag = _thinned(value)
        known = np.isfinite(bag).all(1)
        values = _standardised(np.where(known[:, None], bag, self.mean), np.array(self.mean), np.array(self.std))
        return values, known


PartEncoder = Annotated[NumberEncoder | OrdinalEncoder | CategoryEncoder | VectorEncoder | TokensEncoder,
                        Field(discriminator="kind")]
_ATTRIBUTES = {"vector": "vectors", "tokens": "tokens"}  # of CaseConditions; columns: "values"


class ConditionEncoder(Frozen):
    """How the conditions of a patient become numbers: one encoder per input, in the order of the layout."""

    schema_version: int = versioned(1)
    parts: tuple[PartEncoder, ...] = ()

    @property
    def layout(self) -> Layout:
        """What `encode` gives."""
        inputs, start = [], 0
        for part in self.parts:
            bag = part.kind == "tokens"
            inputs.append(ConditionInput(name=part.name, width=part.width, start=None if bag else start))
            start += 0 if bag else part.width
        return Layout(inputs=tuple(inputs))


def fit_encoder(table: ConditionTable, cases: Sequence[CaseConditions]) -> ConditionEncoder:
    """The encoder of a table's inputs, fitted on these (training) cases.

    An input that none of them has is left out with a warning. Vectors or tokens of several widths are a UserError.
    """
    parts = []
    for spec in table.specs:
        known = [value for case in cases
                 if (value := _raw(case, spec.kind, spec.name)) is not None and not _is_empty(value)]
        part = _FITTERS[spec.kind](spec, known) if known else None
        if part is None:
            logger.warning("no training case has %s: it is left out of the model's inputs", spec.name)
        else:
            parts.append(part)
    return ConditionEncoder(parts=tuple(parts))


def encode(encoder: ConditionEncoder, conditions: CaseConditions) -> EncodedConditions:
    """What is known of a patient, as arrays. A vector or bag of another width than in training is a UserError."""
    values, known = [np.zeros(0, np.float32)], [np.zeros(0, bool)]
    bags: dict[str, EncodedBag] = {}
    for part in encoder.parts:
        encoded = part.encode(_raw(conditions, part.kind, part.name))
        if part.kind == "tokens":
            bags[part.name] = EncodedBag(*encoded)
        else:
            values.append(encoded[0])
            known.append(encoded[1])
    return EncodedConditions(np.concatenate(values), np.concatenate(known), bags)


def unlike_training(cases: Mapping[str, CaseConditions], encoders: Sequence[ConditionEncoder]) -> list[str]:
    """A warning for each column of which some cases have numbers that every one of the encoders clips.

    A table with another unit than in training has such numbers, and a code such as 999 for "not known". The numbers are not
    shown: those of DICOM headers belong in no log.
    """
    numbers: dict[str, list[NumberEncoder]] = {}
    for part in (part for encoder in encoders for part in encoder.parts if part.kind == "number"):
        numbers.setdefault(part.name, []).append(part)
    warnings = []
    for name, parts in numbers.items():
        far = [case for case, conditions in cases.items()
               if all(part.clips(conditions.values.get(name)) for part in parts)]
        if far:
            warnings.append(f"column {name}: the numbers of {len(far)} of {len(cases)} cases lie more than {LIMIT:g} "
                            f"standard deviations from the median of training, {parts[0].usual:g}, and count as {LIMIT:g} "
                            f"of them: {listed(far)}; write them in the unit of the training table, and leave a cell empty "
                            "where it holds a code for 'not known'")
    return warnings


def _fit_number(spec: ConditionSpec, values: list[float]) -> NumberEncoder:
    numbers = np.array([_number(spec.name, value) for value in values])
    floor = None
    if spec.transform == "log":
        positive = numbers[numbers > 0]
        # Half of the smallest, as is usual for what lies below a laboratory's limit of detection.
        floor = float(positive.min()) / 2 if positive.size else 1.0
        numbers = np.array([_logarithm(number, floor) for number in numbers])
    _, std = _moments(numbers[~far_from_others(numbers), None])  # a code such as 999 would make all true ages alike
    return NumberEncoder(name=spec.name, median=float(np.median(numbers)), std=std[0], floor=floor)


def _fit_ordinal(spec: ConditionSpec, values: list[float | str]) -> OrdinalEncoder | None:
    order = tuple(category_text(value) for value in spec.order)
    if not any(category_text(value) in order for value in values):
        return None
    return OrdinalEncoder(name=spec.name, order=order, spelling="text")


def _fit_category(spec: ConditionSpec, values: list[float | str]) -> CategoryEncoder:
    keys = [category_text(value) for value in values]
    seen = sorted(set(keys))
    return CategoryEncoder(name=spec.name, categories=tuple(key for key in seen if keys.count(key) >= _RARE),
                           rare=tuple(key for key in seen if keys.count(key) < _RARE), spelling="text")


def _fit_vector(spec: ConditionSpec, values: list[np.ndarray]) -> VectorEncoder:
    width = spec.width or values[0].shape[-1]
    for vector in values:
        _check_width(spec.name, "vector", vector, 1, width)
    mean, std = _moments(np.stack(values))
    return VectorEncoder(name=spec.name, mean=mean, std=std)


def _fit_tokens(spec: ConditionSpec, values: list[np.ndarray]) -> TokensEncoder:
    width = spec.width or values[0].shape[-1]
    for bag in values:
        _check_width(spec.name, "tokens", bag, 2, width)
    mean, std = _moments(np.concatenate([_thinned(bag) for bag in values]))
    return TokensEncoder(name=spec.name, mean=mean, std=std)


_FITTERS: dict[str, Callable[[ConditionSpec, list[Any]], Any]] = {
    "number": _fit_number, "ordinal": _fit_ordinal, "category": _fit_category, "vector": _fit_vector,
    "tokens": _fit_tokens}


def _raw(case: CaseConditions, kind: str, name: str) -> Any:
    return getattr(case, _ATTRIBUTES.get(kind, "values")).get(name)


def _is_empty(value: float | str | np.ndarray) -> bool:
    """A number that is not finite, or an empty array: it says nothing."""
    if isinstance(value, np.ndarray):
        return value.size == 0
    return isinstance(value, float) and not math.isfinite(value)


def _number(name: str, value: float | str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UserError("a number column holds text", where=f"condition {name!r}", found=repr(value),
                        expected="a number, or nothing", do="declare it as a category, or correct it") from None


def _logarithm(value: float, floor: float | None) -> float:
    return value if floor is None else math.log(max(value, floor))


def spelled(value: float | str, spelling: Spelling) -> str:
    """The category of a cell, as an encoder compares it."""
    text = category_text(value)
    if spelling == "text":
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else str(number)


@functools.cache
def _warn_once(column: str, value: str, what: str) -> None:
    logger.warning("column %s: %r %s", column, value, what)


def _check_width(name: str, kind: str, array: np.ndarray, n_axes: int, width: int) -> None:
    if array.ndim != n_axes or array.shape[-1] != width:
        expected = f"{width} numbers" if kind == "vector" else f"tokens x {width} features"
        raise UserError(f"the {kind} of a case {'has' if kind == 'vector' else 'have'} another width than declared or "
                        "trained with", where=f"condition {name!r}", found=f"shape {array.shape}", expected=expected)


def _thinned(bag_TE: np.ndarray) -> np.ndarray:
    """At most MAX_TOKENS tokens, evenly spaced from the first to the last."""
    if len(bag_TE) <= MAX_TOKENS:
        return bag_TE
    return bag_TE[np.linspace(0, len(bag_TE) - 1, MAX_TOKENS).round().astype(int)]


def _moments(rows_NE: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each entry over its finite values; a constant entry's deviation is 0."""
    rows = rows_NE.astype(np.float64)
    finite = np.isfinite(rows)
    count = finite.sum(0).clip(min=1)
    mean = np.where(finite, rows, 0).sum(0) / count
    std = np.sqrt(np.square(np.where(finite, rows - mean, 0)).sum(0) / count)
    return tuple(mean.tolist()), tuple(np.where(std > _CONSTANT * abs(mean), std, 0).tolist())


def _standardised(values: np.ndarray, centre: np.ndarray | float, std: np.ndarray | float) -> np.ndarray:
    """Float32 within +-LIMIT; 0 where the deviation is."""
    scaled = np.where(np.asarray(std) > 0, (values - centre) / np.where(np.asarray(std) > 0, std, 1), 0)
    return scaled.clip(-LIMIT, LIMIT).astype(np.float32)
