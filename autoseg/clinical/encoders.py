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
import torch
from pydantic import Field
from torch.nn.utils.rnn import pad_sequence

from autoseg.base.errors import UserError
from autoseg.clinical.conditions import CaseConditions
from planners.schema.base import Frozen
from planners.schema.conditions import ConditionSpec, ConditionTable

logger = logging.getLogger(__name__)

LIMIT = 5.0  # standardised values are cut here, so that no outlier drowns all else
MAX_TOKENS = 256  # of a bag; more are thinned out evenly
_RARE = 2  # a category of fewer training cases is "other", which must have some to be learned from
_CONSTANT = 1e-6  # a standard deviation below this share of the mean is rounding

Encoded = tuple[np.ndarray, np.ndarray]  # float32 values, and bool: which of them are known


class ConditionInput(Frozen):
    """One input of a model beside the images.

    A column or vector is the entries `start` to `start + width` of the encoded values; a token bag (`start` None) has
    `width` features a token.
    """

    name: str
    width: int
    start: int | None = None


class Layout(Frozen):
    """The inputs of a model beside the images, in order."""

    inputs: tuple[ConditionInput, ...] = ()

    @property
    def n_values(self) -> int:
        """Encoded values of all columns and vectors together."""
        return sum(one.width for one in self.inputs if one.start is not None)

    @property
    def bags(self) -> tuple[ConditionInput, ...]:
        """The inputs that are bags of tokens."""
        return tuple(one for one in self.inputs if one.start is None)


NO_CONDITIONS = Layout()


class NumberEncoder(Frozen):
    """A number: what lies between it and the median of the training cases, in their standard deviations.

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
        known = not _is_missing(value)
        number = _logarithm(_number(self.name, value), self.floor) if known else self.median
        return _standardised(np.array([number]), self.median, self.std), np.array([known])


class OrdinalEncoder(Frozen):
    """A rank, scaled to -1 (the first of `order`) to 1 (the last)."""

    kind: Literal["ordinal"] = "ordinal"
    name: str
    order: tuple[str, ...]

    @property
    def width(self) -> int:
        return 1

    def encode(self, value: float | str | None) -> Encoded:
        """(1,) and (1,)."""
        if _is_missing(value):
            return np.zeros(1, np.float32), np.array([False])
        if _key(value) not in self.order:
            _warn_once(self.name, _key(value), "is not in the order that is declared; it counts as missing")
            return np.zeros(1, np.float32), np.array([False])
        scaled = 2 * self.order.index(_key(value)) / max(1, len(self.order) - 1) - 1
        return np.array([scaled], np.float32), np.array([True])


class CategoryEncoder(Frozen):
    """One-hot: an entry a category and a last one for any other.

    `rare` are the training cases' categories that are "other". Where there are none, nothing teaches a network what
    "other" means: the entry is set, but not known.
    """

    kind: Literal["category"] = "category"
    name: str
    categories: tuple[str, ...]
    rare: tuple[str, ...] = ()

    @property
    def width(self) -> int:
        return len(self.categories) + 1

    def encode(self, value: float | str | None) -> Encoded:
        """(width,) and (width,)."""
        values, known = np.zeros(self.width, np.float32), np.zeros(self.width, bool)
        if _is_missing(value):
            return values, known
        key = _key(value)
        if key in self.categories:
            values[self.categories.index(key)], known[:] = 1, True
            return values, known
        if key not in self.rare:
            _warn_once(self.name, key, 'was not seen in training; it counts as "other"')
        values[-1], known[:] = 1, bool(self.rare)
        return values, known


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
        if _is_missing(value):
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
        if _is_missing(value):
            return np.zeros((1, self.width), np.float32), np.zeros(1, bool)
        _check_width(self.name, "tokens", value, 2, self.width)
        bag = _thinned(value)
        known = np.isfinite(bag).all(1)
        values = _standardised(np.where(known[:, None], bag, self.mean), np.array(self.mean), np.array(self.std))
        return values, known


PartEncoder = Annotated[NumberEncoder | OrdinalEncoder | CategoryEncoder | VectorEncoder | TokensEncoder,
                        Field(discriminator="kind")]
_KEPT_IN = {"vector": "vectors", "tokens": "tokens"}  # attribute of CaseConditions; columns: "values"


class ConditionEncoder(Frozen):
    """How the conditions of a patient become numbers: an encoder an input, in the order of the layout."""

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
        found = [value for case in cases if not _is_missing(value := _raw(case, spec.kind, spec.name))]
        part = _FITTERS[spec.kind](spec, found) if found else None
        if part is None:
            logger.warning("no training case has %s: it is left out of the model's inputs", spec.name)
        else:
            parts.append(part)
    return ConditionEncoder(parts=tuple(parts))


def encode(encoder: ConditionEncoder, conditions: CaseConditions) -> dict[str, np.ndarray]:
    """What is known of a patient, as arrays.

    `values` (K,) float32 and `known` (K,) bool of all columns and vectors; of each token bag `tokens:NAME` (T, E)
    float32 and `known:NAME` (T,) bool. A vector or bag of another width than in training is a UserError.
    """
    values, known = [np.zeros(0, np.float32)], [np.zeros(0, bool)]
    bags: dict[str, np.ndarray] = {}
    for part in encoder.parts:
        encoded = part.encode(_raw(conditions, part.kind, part.name))
        if part.kind == "tokens":
            bags[f"tokens:{part.name}"], bags[f"known:{part.name}"] = encoded
        else:
            values.append(encoded[0])
            known.append(encoded[1])
    return {"values": np.concatenate(values), "known": np.concatenate(known), **bags}


def collate(encoded: Sequence[Mapping[str, np.ndarray]]) -> dict[str, torch.Tensor]:
    """Encoded patients as one batch (B, ...); token bags are padded to the longest by tokens that are not known."""
    return {key: pad_sequence([torch.from_numpy(one[key]) for one in encoded], batch_first=True) for key in encoded[0]}


def _fit_number(spec: ConditionSpec, found: list[float]) -> NumberEncoder:
    numbers = np.array([_number(spec.name, value) for value in found])
    floor = None
    if spec.transform == "log":
        positive = numbers[numbers > 0]
        # Half of the smallest, as is usual for what lies below a laboratory's limit of detection.
        floor = float(positive.min()) / 2 if positive.size else 1.0
        numbers = np.array([_logarithm(number, floor) for number in numbers])
    _, std = _moments(numbers[:, None])
    return NumberEncoder(name=spec.name, median=float(np.median(numbers)), std=std[0], floor=floor)


def _fit_ordinal(spec: ConditionSpec, found: list[float | str]) -> OrdinalEncoder | None:
    order = tuple(_key(value) for value in spec.order)
    return OrdinalEncoder(name=spec.name, order=order) if any(_key(value) in order for value in found) else None


def _fit_category(spec: ConditionSpec, found: list[float | str]) -> CategoryEncoder:
    keys = [_key(value) for value in found]
    seen = sorted(set(keys))
    return CategoryEncoder(name=spec.name, categories=tuple(key for key in seen if keys.count(key) >= _RARE),
                           rare=tuple(key for key in seen if keys.count(key) < _RARE))


def _fit_vector(spec: ConditionSpec, found: list[np.ndarray]) -> VectorEncoder:
    width = spec.width or found[0].shape[-1]
    for vector in found:
        _check_width(spec.name, "vector", vector, 1, width)
    mean, std = _moments(np.stack(found))
    return VectorEncoder(name=spec.name, mean=mean, std=std)


def _fit_tokens(spec: ConditionSpec, found: list[np.ndarray]) -> TokensEncoder:
    width = spec.width or found[0].shape[-1]
    for bag in found:
        _check_width(spec.name, "tokens", bag, 2, width)
    mean, std = _moments(np.concatenate([_thinned(bag) for bag in found]))
    return TokensEncoder(name=spec.name, mean=mean, std=std)


_FITTERS: dict[str, Callable[[ConditionSpec, list[Any]], Any]] = {
    "number": _fit_number, "ordinal": _fit_ordinal, "category": _fit_category, "vector": _fit_vector,
    "tokens": _fit_tokens}


def _raw(case: CaseConditions, kind: str, name: str) -> Any:
    return getattr(case, _KEPT_IN.get(kind, "values")).get(name)


def _is_missing(value: Any) -> bool:
    """None, a number that is not finite, an empty array."""
    if isinstance(value, np.ndarray):
        return value.size == 0
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _number(name: str, value: float | str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UserError("a number column holds text", where=f"condition {name!r}", found=repr(value),
                        expected="a number, or nothing", do="declare it as a category, or correct it") from None


def _logarithm(value: float, floor: float | None) -> float:
    return value if floor is None else math.log(max(value, floor))


def _key(value: float | str) -> str:
    """The text of a category; 1, "1" and "1.0" are the same."""
    text = str(value).strip()
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
