"""Blocks of features of many cases, from what is known of each. N counts cases.

| block | what |
|---|---|
| `volume`, `shape`, `radiomics` | of the predicted mask and the images in it (`outcome.lesion`) |
| `embedding` | what the segmentation network sees, relative to anchors (`outcome.embed`) |
| `crop` | the image around the lesion |
| `clinical`, `vectors`, `tokens` | the conditions of dataset.json; of a bag of tokens the mean |
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from autoseg.clinical.cells import category_text
from autoseg.clinical.conditions import CaseConditions
from autoseg.datasets.case import Case
from autoseg.outcome.embed import relative
from autoseg.outcome.lesion import SHAPE, VOLUME, intensities_of, shape_of, volume_of
from autoseg.outcome.targets import Features
from planners.schema.base import Frozen
from planners.schema.conditions import ConditionSpec, ConditionTable
from planners.schema.labels import LabelSpec

MEASURED = ("volume", "shape", "radiomics")
IMAGE_BLOCKS = (*MEASURED, "embedding", "crop")
TABLE_BLOCKS = ("clinical", "vectors", "tokens")
_RARE = 2  # a category of fewer cases is none of the columns

Measures = Mapping[str, Mapping[str, float]]  # block -> feature -> value


@dataclass(frozen=True)
class CaseFeatures:
    """What the images say of a case: measures by block, (2 E,) of each model that saw it, the crop (C, z, y, x)."""

    measures: Measures
    embeddings: tuple[np.ndarray, ...]
    crop: np.ndarray


@dataclass(frozen=True)
class Anchors:
    """The cases that embeddings are compared with, and their own embeddings (A, 2 E) by one model."""

    names: tuple[str, ...]
    embeddings_AE: np.ndarray


class TableLayout(Frozen):
    """How the conditions become columns: the categories of each column that holds some."""

    table: ConditionTable
    categories: dict[str, tuple[str, ...]]


@dataclass
class _Columns:
    """Columns of one block, in order."""

    names: list[str] = field(default_factory=list)
    values: list[list[float]] = field(default_factory=list)  # a list per case

    def block(self, name: str) -> Features:
        shape = len(self.values), len(self.names)
        return Features(name, tuple(self.names), np.array(self.values, np.float64).reshape(shape))


def measure(case: Case, label_DHW: np.ndarray, labels: LabelSpec, channels: Sequence[str], lesion: str) -> Measures:
    """The measured blocks of a case with its predicted label map; the `lesion` comes first, then the other labels."""
    masks = {name: np.isin(label_DHW, labels.names[name])
             for name in (lesion, *(other for other in labels.foreground if other != lesion))}
    volume = {f"{name} {feature}": value for name, mask in masks.items()
              for feature, value in zip(VOLUME, volume_of(mask, case.geometry), strict=True)}
    shape = {f"{lesion} {feature}": value
             for feature, value in zip(SHAPE, shape_of(masks[lesion], case.geometry), strict=True)}
    return {"volume": volume, "shape": shape,
            "radiomics": intensities_of(case.image_CDHW, case.present_C, case.absent_CDHW, masks[lesion], channels)}


def measured_blocks(measures: Sequence[Measures]) -> dict[str, Features]:
    """The measured blocks of some cases."""
    blocks = {}
    for block in MEASURED:
        names = tuple(measures[0][block])
        blocks[block] = Features(block, names, np.array([[case[block][name] for name in names] for case in measures]))
    return blocks


def crop_block(crops: Sequence[np.ndarray]) -> Features:
    """The images around the lesions, made flat."""
    return Features("crop", (), np.stack([crop.ravel() for crop in crops]).astype(np.float64), crops[0].shape)


def embedding_names(anchors: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{part} like {name}" for part in ("case", "lesion") for name in anchors)


def relative_embedding(name: str, embedding_E: np.ndarray, anchors: Anchors) -> np.ndarray:
    """(2 A,): how much the case, and its lesion, are like each anchor; an anchor is not compared with itself (NaN)."""
    half = len(embedding_E) // 2
    itself = np.array([anchor == name for anchor in anchors.names])
    parts = [relative(embedding_E[side], anchors.embeddings_AE[:, side]) for side in (slice(half), slice(half, None))]
    return np.concatenate([np.where(itself, math.nan, part) for part in parts])


def table_layout(table: ConditionTable, conditions: Sequence[CaseConditions]) -> TableLayout:
    """The categories that at least two of the cases have; others are none of the columns."""
    categories = {}
    for spec in table.specs:
        if spec.kind == "category":
            counts = Counter(category_text(value) for case in conditions
                             if (value := case.values.get(spec.name)) is not None)
            categories[spec.name] = tuple(sorted(text for text, count in counts.items() if count >= _RARE))
    return TableLayout(table=table, categories=categories)


def table_blocks(layout: TableLayout, conditions: Sequence[CaseConditions]) -> dict[str, Features]:
    """The blocks of the conditions; a block of which no case knows anything is left out."""
    blocks: dict[str, _Columns] = {name: _Columns(values=[[] for _ in conditions]) for name in TABLE_BLOCKS}
    for spec in layout.table.specs:
        if spec.kind in ("vector", "tokens"):
            _add_arrays(blocks["vectors" if spec.kind == "vector" else "tokens"], spec, conditions)
        else:
            names, rows = _cells(spec, layout.categories.get(spec.name, ()),
                                 [case.values.get(spec.name) for case in conditions])
            blocks["clinical"].names += names
            for known, row in zip(blocks["clinical"].values, rows, strict=True):
                known += row
    all_blocks = {name: columns.block(name) for name, columns in blocks.items()}
    return {name: block for name, block in all_blocks.items() if np.isfinite(block.values_NF).any()}


def _cells(spec: ConditionSpec, categories: Sequence[str], values: Sequence[float | str | None]
           ) -> tuple[list[str], list[list[float]]]:
    """The names of a column's features, and its features of each case."""
    if spec.kind == "category":
        return ([f"{spec.name}={text}" for text in categories],
                [[math.nan if value is None else float(category_text(value) == text) for text in categories]
                 for value in values])
    if spec.kind == "ordinal":
        ranks = {category_text(text): float(rank) for rank, text in enumerate(spec.order)}
        return [spec.name], [[math.nan if value is None else ranks.get(category_text(value), math.nan)] for value in values]
    numbers = [math.nan if value is None else float(value) for value in values]
    if spec.transform == "log":
        numbers = [math.log(number) if number > 0 else math.nan for number in numbers]
    return [spec.name], [[number] for number in numbers]


def _add_arrays(columns: _Columns, spec: ConditionSpec, conditions: Sequence[CaseConditions]) -> None:
    """Adds the vector of each case, or the mean of its bag."""
    arrays = [case.vectors.get(spec.name) if spec.kind == "vector" else case.tokens.get(spec.name) for case in conditions]
    width = spec.width or max((array.shape[-1] for array in arrays if array is not None), default=0)
    columns.names += [f"{spec.name}[{k}]" for k in range(width)]
    for row, array in zip(columns.values, arrays, strict=True):
        if array is None or not len(array):
            row += [math.nan] * width
        else:
            row += (array if spec.kind == "vector" else array.mean(0)).tolist()
