"""A plan with the topology of another dataset's model, so that its weights fit."""

import math
from collections.abc import Sequence

from planners.rules.spacing import ANISOTROPY, full_resolution
from planners.rules.transfer import from_scratch
from planners.schema.base import Part
from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Configuration, Plan

LIKE = "like_"  # begins the name of such a plan
LEAST_OF_PATCH = 1 / 8  # share of a patch that the median case must fill on the model's grid


def name_like(planner: str) -> str:
    """The name of a plan like one of this planner.

    >>> name_like("budgeted"), name_like("like_budgeted")
    ('like_budgeted', 'like_budgeted')
    """
    return LIKE + planner.removeprefix(LIKE)


def like(own: Plan, source: Plan, configuration: str, fingerprint: Fingerprint) -> Plan:
    """The dataset's `own` plan with one configuration that has the topology of the `source`'s: architecture, patch, batch,
    spacing, resampling, fusion, and the normalisers of channels that have the same name.

    Channels, labels, conditions, priors and mirroring are the dataset's own. So are intensities, unless the source is of the
    same dataset, whose weights know them. Axes are turned and ordered as in the source, as far as the images allow. Raises
    ValueError where the dataset does not fit: no configuration of these dimensions, another anisotropy, cases that are far
    smaller than a patch.
    """
    there = from_scratch(source.configurations[configuration])
    if there.previous:
        raise ValueError(f"{configuration} is the second stage of a cascade; name the model of its first stage, "
                         f"{there.previous}")
    base = own.configurations.get(configuration) or next(
        (known for known in own.configurations.values() if known.dimensions == there.dimensions), None)
    if base is None or base.dimensions != there.dimensions:
        raise ValueError(f"the model is of {there.dimensions} dimensions, and the images of {own.dataset} are not")
    order, grid = full_resolution(fingerprint)
    transpose = source.transpose if there.dimensions == 3 and not _is_anisotropic(grid.spacing_mm) else order
    full_mm, shape = ([dict(zip(order, values, strict=True))[axis] for axis in transpose][-there.dimensions:]
                      for values in (grid.spacing_mm, grid.median_shape))
    median = tuple(max(1.0, float(round(n * mm / new)))
                   for n, mm, new in zip(shape, full_mm, there.spacing_mm, strict=True))
    _check_fits(there, full_mm, median)
    is_same = own.dataset == source.dataset and own.channels == source.channels
    adopted = _adopted(base, there, own, source, transpose).model_copy(update={"median_shape": median})
    return own.model_copy(update={
        "planner": name_like(source.planner), "transpose": transpose, **_orientation(own, source, len(fingerprint.cases)),
        "intensities": source.intensities if is_same else own.intensities, "first": None,
        "configurations": {configuration: adopted.foreseen_only_as(base)},
        "reasons": (f"{configuration} has the topology of the model of {source.dataset} ({source.planner}): patch "
                    f"{_edges(there.patch)}, {' x '.join(f'{mm:.3g}' for mm in there.spacing_mm)} mm",
                    f"{configuration} keeps the augmentation and the time that are planned for the {len(fingerprint.cases)} "
                    f"cases of {own.dataset}",
                    *(["intensities are those that the model was trained with"] if is_same else []))})


def _adopted(base: Configuration, there: Configuration, own: Plan, source: Plan, transpose: Sequence[int]) -> Configuration:
    """The dataset's configuration with what the source decides. How long it trains and the augmentation stay its own."""
    kinds = {channel.name.lower(): part for channel, part in zip(source.channels, there.normalizers, strict=True)}
    normalizers = tuple(kinds.get(channel.name.lower(), part)
                        for channel, part in zip(own.channels, base.normalizers, strict=True))
    schedule = there.schedule.model_copy(update={key: getattr(base.schedule, key) for key in (
        "iterations", "budget_seconds", "iterations_per_epoch", "foreground_share", "validation_mirroring")})
    axes, n = transpose[-there.dimensions:], there.dimensions
    moved = {place: axes.index(axis) for place, axis in enumerate(own.transpose[-n:])}
    return base.model_copy(update={
        "spacing_mm": there.spacing_mm, "patch": there.patch, "batch": there.batch, "batch_dice": there.batch_dice,
        "architecture": there.architecture, "network": there.network, "resampling": there.resampling,
        "fusion": there.fusion, "normalizers": normalizers, "schedule": schedule, "data": "",
        "conditioning": there.conditioning if _conditions(there) and _conditions(base) else base.conditioning,
        "mirror_axes": tuple(sorted(moved[place] for place in base.mirror_axes)),
        "pair_axis": None if base.pair_axis is None else moved[base.pair_axis],
        "step_seconds": None, "views": None, "ceiling": None})


def _conditions(configuration: Configuration) -> bool:
    return configuration.conditioning != Part(name="none")


def _check_fits(there: Configuration, full_mm: Sequence[float], median: Sequence[float]) -> None:
    here, model = (" x ".join(f"{mm:.3g}" for mm in spacing) for spacing in (full_mm, there.spacing_mm))
    if _is_anisotropic(full_mm) != _is_anisotropic(there.spacing_mm):
        raise ValueError(f"the voxels have another anisotropy: {here} mm here, {model} mm in the model")
    if math.prod(median) < LEAST_OF_PATCH * math.prod(there.patch):
        raise ValueError(f"on the grid of the model ({model} mm; here {here} mm) the median case has {_edges(median)} "
                         f"voxels, far less than a patch of {_edges(there.patch)}")


def _orientation(own: Plan, source: Plan, n_cases: int) -> dict[str, str | int]:
    """The source's orientation where only directions of axes differ from the dataset's own: cases are turned to it."""
    if not (own.orientation and source.orientation) or own.orientation == source.orientation:
        return {}
    if _lines(own.orientation) != _lines(source.orientation):
        return {}
    return {"orientation": source.orientation, "turned": n_cases}


def _lines(orientation: str) -> list[int]:
    """For each axis whether it is left-right, front-back or head-foot."""
    return [next(line for line, letters in enumerate(("LR", "AP", "IS")) if letter in letters) for letter in orientation]


def _is_anisotropic(spacing_mm: Sequence[float]) -> bool:
    return max(spacing_mm) > ANISOTROPY * min(spacing_mm)


def _edges(shape: Sequence[float]) -> str:
    return " x ".join(f"{edge:g}" for edge in shape)
