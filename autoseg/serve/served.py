"""The description of a model for clients: what it takes, what it gives, and how well it did."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from autoseg.clinical.encoders import CategoryEncoder, ConditionEncoder, OrdinalEncoder
from autoseg.reporting.contact_sheet import colours_of
from planners.rules.input_sets import joint_plan
from planners.schema.base import Frozen
from planners.schema.labels import LabelSpec
from planners.schema.plan import Plan

_UNITS = {"ct": "HU", "pet": "SUV"}  # of a channel's voxels, by its modality; of others they are not known
_MODALITIES = {"ct": "CT", "pet": "PT", "mr": "MR"}  # as DICOM calls them


class ServedChannel(Frozen):
    """An image that a case has. `required`: the model was never trained without it. `modality` is DICOM's, empty: another.
    `number` is that at the end of its files' names, such as 1 of `case_0001.nii.gz`.
    """

    name: str
    number: int
    modality: str = ""
    required: bool = True
    unit: str = ""


class ServedColumn(Frozen):
    """A column of the clinical table. `categories`: the values that the model knows, of an ordinal one in their order.

    `low` and `high` are the least and the greatest value that makes sense; None: not known.
    """

    name: str
    kind: Literal["number", "category", "ordinal"]
    unit: str = ""
    categories: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None


class ServedLabel(Frozen):
    """What is segmented: its name, the values of a mask that mean it, and the colour (#rrggbb) in which it is shown."""

    name: str
    values: tuple[int, ...]
    color: str


class ServedModel(Frozen):
    """A model that a job can ask for by its `name`. `models` is the number of networks, `scores` the mean Dice of each label
    in cross-validation, where that is known. `modality_channels` are channels whose modality the client must say.
    """

    name: str
    title: str
    dataset: str
    dimensions: Literal[2, 3]
    models: int
    channels: tuple[ServedChannel, ...]
    columns: tuple[ServedColumn, ...] = ()
    labels: tuple[ServedLabel, ...]
    modality_channels: tuple[str, ...] = ()
    uncertainty: bool = True
    quality: bool = False
    scores: dict[str, float] = Field(default_factory=dict)


def channels_of(plan: Plan) -> tuple[ServedChannel, ...]:
    """The images that a case has. The channel on whose grid the case lies is always required."""
    several = plan.modality_columns
    return tuple(ServedChannel(name=channel.name, number=number, required=channel.required or channel.reference,
                               modality="" if channel.name in several else _MODALITIES.get(channel.modality, ""),
                               unit="" if channel.name in several else _UNITS.get(channel.modality, ""))
                 for number, channel in zip(plan.numbers, plan.channels, strict=True))


def columns_of(plan: Plan, encoders: Sequence[ConditionEncoder]) -> tuple[ServedColumn, ...]:
    """The columns of the clinical table that a network was trained with; categories that few patients had are not named."""
    parts = {part.name: part for encoder in encoders for part in encoder.parts}
    columns = []
    for spec in plan.conditions.specs:
        if spec.name not in parts or spec.kind not in ("number", "category", "ordinal"):
            continue
        known: dict[str, None] = {}
        for part in (part for encoder in encoders for part in encoder.parts if part.name == spec.name):
            if isinstance(part, CategoryEncoder):
                known |= dict.fromkeys(part.categories)
            elif isinstance(part, OrdinalEncoder):
                known |= dict.fromkeys(part.order)
        columns.append(ServedColumn(name=spec.name, kind=spec.kind, categories=tuple(known)))
    return tuple(columns)


def labels_of(labels: LabelSpec) -> tuple[ServedLabel, ...]:
    """The foreground, with the colours of the reports."""
    return tuple(ServedLabel(name=name, values=labels.names[name], color=color.lower())
                 for name, color in colours_of(labels).items())


def served_model(name: str, title: str, plans: Sequence[Plan], encoders: Sequence[ConditionEncoder], *, dimensions: int,
                 n_models: int, quality: bool, results: Sequence[Any]) -> ServedModel:
    """The description of models that predict together. `results` is the JSON data of their folds' results."""
    plan = joint_plan(plans)
    return ServedModel(name=name, title=title, dataset=plan.dataset, dimensions=2 if dimensions == 2 else 3, models=n_models,
                       channels=channels_of(plan), columns=columns_of(plan, encoders), labels=labels_of(plan.labels),
                       modality_channels=tuple(channel.name for channel in plan.channels
                                               if channel.name in plan.modality_columns),
                       quality=quality, scores=mean_scores(results))


def mean_scores(results: Sequence[Any]) -> dict[str, float]:
    """The mean over folds of each label's Dice, from their results as JSON data; what these do not say is left out."""
    found: dict[str, list[float]] = {}
    for result in results:
        scores = result.get("scores") if isinstance(result, Mapping) else None
        for label in scores.get("labels", ()) if isinstance(scores, Mapping) else ():
            value = label.get("means", {}).get("dice", {}).get("value")
            if isinstance(value, int | float):
                found.setdefault(label["name"], []).append(float(value))
    return {name: round(sum(values) / len(values), 4) for name, values in found.items()}
