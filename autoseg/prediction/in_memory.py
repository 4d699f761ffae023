"""A case of images that a caller has in memory: assigned to the channels of a model, checked, and on one grid."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from autoseg.base.errors import UserError, hint, listed
from autoseg.clinical.cells import category_text, is_missing
from autoseg.clinical.conditions import CaseConditions, ranks_of, says_something
from autoseg.datasets.case import Case
from autoseg.formats.in_memory import KINDS, OpenedImage, open_image
from autoseg.grids.regrid import regrid
from autoseg.prediction.plausible import check_grid, check_voxels
from planners.schema.channels import MODALITY_WORDS, ChannelSpec, modality_of_cell
from planners.schema.conditions import ConditionSpec
from planners.schema.plan import Plan

Value = TypeVar("Value")


@dataclass(frozen=True)
class _Channels:
    """Channels of a case from the number `start` on, that one image holds."""

    start: int
    image: OpenedImage
    where: str

    def spec(self, plan: Plan) -> ChannelSpec:
        return plan.channels[self.start]


def case_of_images(images: Any, plan: Plan, name: str, conditions: CaseConditions, modality: str = ""
                   ) -> tuple[Case, Callable[[np.ndarray], Any]]:
    """A case of one image, of a mapping from names of channels to images, or of a sequence of them in the order of the
    channels (None: the case lacks it); and what makes images like that of the reference channel of arrays on its grid.

    Raises UserError where an image is none, or the images are not those that the model takes.
    """
    assigned = _assigned(images, plan, name)
    for part in assigned:
        check_grid(part.image, plan, part.where)
        _check_channels(part, plan)
    reference = _reference(assigned, plan)
    geometry = reference.image.geometry
    image_CDHW = np.zeros((len(plan.channels), *geometry.shape), np.float32)
    absent_CDHW = np.zeros(image_CDHW.shape, bool)
    present_C = np.zeros(len(plan.channels), bool)
    for part in assigned:
        own = slice(part.start, part.start + len(part.image.array_CDHW))
        image_CDHW[own], absent_DHW = _on_grid(part, reference, plan)
        absent_CDHW[own] |= absent_DHW
        present_C[own] = True
    case = Case(name, image_CDHW, present_C, geometry, absent_CDHW=absent_CDHW if absent_CDHW.any() else None,
                conditions=conditions, modalities=_modalities(plan, present_C, conditions, modality, name),
                source=reference.image.source)
    return case, reference.image.alike


def conditions_of(known: Mapping[str, Any], plan: Plan, used: bool) -> CaseConditions:
    """What is known of a patient beside the images, by the names that the model has for it; what is not given, None, or of a
    column of words says that it is not known (NaN, "unknown"), is missing as in a table.

    `used` says whether the model takes anything but images. Raises UserError for what it does not take.
    """
    specs = {spec.name: spec for spec in plan.conditions.specs} if used else {}
    columns = set(plan.modality_columns.values())
    for key in known:
        if key not in specs and key not in columns:
            raise UserError(f"the model has no condition {key!r}{hint(key, [*specs, *columns])}", where="conditions",
                            found=listed(known), expected=listed([*specs, *(columns - set(specs))]) or "none: images alone")
    words = {column: str(known[column]) for column in columns if known.get(column) is not None}
    values: dict[str, Any] = {column: None if is_missing(words.get(column, "")) else words[column] for column in columns}
    arrays: dict[str, dict[str, np.ndarray | None]] = {"vector": {}, "tokens": {}}
    for spec in specs.values():
        value = known.get(spec.name)
        if spec.kind in arrays:
            arrays[spec.kind][spec.name] = None if value is None else _features(spec, value)
        else:
            is_known = value is not None and (spec.kind == "number" or says_something(spec, str(value)))
            values[spec.name] = _cell(spec, value) if is_known else None
    return CaseConditions(values, arrays["vector"], arrays["tokens"])


def said_over(read: CaseConditions, known: CaseConditions, said: Collection[str]) -> CaseConditions:
    """What a table and headers say, in which what the caller `said` by name replaces it; None is missing, too."""
    def of_caller_only(of_caller: Mapping[str, Value]) -> dict[str, Value]:
        return {name: value for name, value in of_caller.items() if name in said}

    return CaseConditions({**read.values, **of_caller_only(known.values)}, {**read.vectors, **of_caller_only(known.vectors)},
                          {**read.tokens, **of_caller_only(known.tokens)})


def _assigned(images: Any, plan: Plan, name: str) -> list[_Channels]:
    names = [channel.name for channel in plan.channels]
    if isinstance(images, Mapping):
        for key in images:
            if key not in names:
                raise UserError(f"the model has no channel {key!r}{hint(key, names)}", where=name, found=listed(images),
                                expected=listed(names, len(names)))
        given = {names.index(key): image for key, image in images.items() if image is not None}
    elif isinstance(images, list | tuple):
        if len(images) != len(names):
            raise UserError("there is not one image per channel", where=name, found=f"{len(images)} images",
                            expected=f"{len(names)}: {listed(names, len(names))}",
                            do="put None where the case lacks a channel, or name the images: {channel: image}")
        given = {number: image for number, image in enumerate(images) if image is not None}
    else:
        whole = open_image(images, name)
        if len(whole.array_CDHW) != len(names):
            raise UserError("the number of channels is wrong", where=name, found=f"{len(whole.array_CDHW)}",
                            expected=f"{len(names)}: {listed(names, len(names))}",
                            do="give one image per channel, by name: {channel: image}")
        return [_Channels(0, whole, name)]
    if not given:
        raise UserError("the case has no image", where=name, expected=f"{KINDS}, of {listed(names, len(names))}")
    parts = [_Channels(number, open_image(image, where), where) for number, image in sorted(given.items())
             for where in [f"{name}, channel {names[number]!r}"]]
    for part in parts:
        if len(part.image.array_CDHW) != 1:
            raise UserError("the image holds several channels", where=part.where, found=len(part.image.array_CDHW),
                            expected="one channel")
    return parts


def _check_channels(part: _Channels, plan: Plan) -> None:
    for number, image_DHW in enumerate(part.image.array_CDHW, part.start):
        stats = plan.intensities[number] if number < len(plan.intensities) else None
        several = plan.channels[number].name in plan.modality_columns  # then the name does not say the unit
        check_voxels(image_DHW, plan.channels[number], None if several else stats, plan, part.where)


def _reference(assigned: Sequence[_Channels], plan: Plan) -> _Channels:
    declared = [number for number, channel in enumerate(plan.channels) if channel.reference]
    for part in assigned:
        if not declared or part.start <= declared[0] < part.start + len(part.image.array_CDHW):
            return part
    raise UserError(f"the channel {plan.channels[declared[0]].name!r} is missing, on whose grid the case is read",
                    where=assigned[0].where, do="give it, too")


def _on_grid(part: _Channels, reference: _Channels, plan: Plan) -> tuple[np.ndarray, np.ndarray]:
    """The channels of an image (C, z, y, x; float32) on the reference's grid, and where they are absent."""
    spec, geometry, fixed = part.spec(plan), part.image.geometry, reference.image.geometry
    image_CDHW = part.image.array_CDHW.astype(np.float32)
    if part is reference:
        return image_CDHW, np.zeros(fixed.shape, bool)
    if geometry.dimensions != fixed.dimensions:
        raise UserError("the images of the case are not all flat or all solid", where=part.where,
                        found=f"{geometry.dimensions}D", expected=f"{fixed.dimensions}D, as {reference.where}")
    if not spec.is_moved:
        if geometry.difference(fixed):
            raise UserError("the grid differs from that of the first channel", where=part.where, found=geometry.describe(),
                            expected=fixed.describe(), do="resample the image to the grid of that channel")
        return image_CDHW, np.zeros(fixed.shape, bool)
    transform = None
    if spec.is_registered:
        from autoseg.preprocessing.registration import register_channel  # and with it SimpleITK

        transform = register_channel(reference.image.array_CDHW[0].astype(np.float32), fixed, image_CDHW[0], geometry,
                                     kind=spec.registration).transform
    elif geometry.is_at(fixed):
        return image_CDHW, np.zeros(fixed.shape, bool)
    return regrid(image_CDHW, geometry, fixed, transform, (part.where, reference.where))


def _modalities(plan: Plan, present_C: np.ndarray, conditions: CaseConditions, said: str, name: str) -> tuple[str, ...]:
    """As of `Case`; a UserError where a channel may hold several modalities and nothing says which one it has."""
    if not plan.modality_columns:
        return ()
    modalities = []
    for channel, present in zip(plan.channels, present_C, strict=True):
        column = plan.modality_columns.get(channel.name)
        text = "" if column is None else str(conditions.values.get(column) or said)
        if column is not None and present and not modality_of_cell(text):
            raise UserError(f"the channel {channel.name!r} may hold several modalities, and nothing known says which one",
                            where=name, found=text or "nothing", expected=MODALITY_WORDS,
                            do=f"say it: conditions={{{column!r}: 'MR'}}, or Predictor.open(..., modality='MR')")
        modalities.append(modality_of_cell(text))
    return tuple(modalities)


def _cell(spec: ConditionSpec, value: Any) -> float | str:
    """A value of a column as training reads it from a table."""
    where = f"condition {spec.name!r}"
    if spec.kind == "category":
        return category_text(str(value))
    if spec.kind == "ordinal":
        ranks = ranks_of(spec)
        if category_text(str(value)) not in ranks:
            raise UserError("the value is not in the order of the condition", where=where, found=value,
                            expected=", ".join(spec.order))
        return ranks[category_text(str(value))]
    number = float(value) if isinstance(value, int | float | np.number) and not isinstance(value, bool) else np.nan
    if not np.isfinite(number) or (spec.transform == "log" and number <= 0):
        raise UserError("the value is no number that the condition takes", where=where, found=repr(value),
                        expected="a number above 0" if spec.transform == "log" else "a number", do="give None if not known")
    return number


def _features(spec: ConditionSpec, value: Any) -> np.ndarray:
    array = np.asarray(value)
    axes = 1 if spec.kind == "vector" else 2
    if array.ndim != axes or array.dtype.kind not in "iuf" or (spec.width is not None and array.shape[-1] != spec.width) \
            or not np.isfinite(array).all():
        raise UserError("the array does not fit the condition", where=f"condition {spec.name!r}",
                        found=f"shape {array.shape}, {array.dtype}",
                        expected=f"finite numbers of shape ({'E' if spec.width is None else spec.width},)" if axes == 1 else
                        f"finite numbers of shape (T, {'E' if spec.width is None else spec.width})")
    return array.astype(np.float32)
