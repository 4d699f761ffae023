"""What any grid leaves of the labels, from the grids that were measured; and how thick slices really are.

Between measured grids the logarithm of a value (Dice, share of components) is linear in the logarithm of the factor. Factors
along several axes: the logarithms of their losses add up, and so does what the jointly coarsened grids lose beside that,
taken at the smaller factor. So every measured grid gets exactly its own value. Beyond the largest factor the last slope goes
on. A grid that is finer than the full resolution counts as the full resolution.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from planners.rules.spacing import Grid, coarser, full_resolution
from planners.schema.ceiling import Ceiling, Factors, GridCeiling, LabelCeiling
from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Configuration, Plan

MEASURED_FACTORS = (1.5, 2.0, 3.0)
LARGE_FACTOR = 4.0  # measured too where a volume is so large that it may get a low resolution
LARGE_VOXELS = 2**22
THIN = 3  # an axis has few voxels where the others have this many times more
THICKEST = 8.0  # no slices are taken to be thicker than their spacing by more
LOSS_IS_NOISE = 5e-3  # of Dice: a smaller loss says nothing of how thick slices are
LOW = 0.95  # a mean Dice below this is worth a warning, and no grid is coarsened further (benchmarks/RESULTS.md)
LEAST_KEPT = 0.95  # share of each label's components of which a coarser grid must leave a voxel
COARSER = (1.5, 2.0)  # only two steps, so that another measurement of the machine seldom needs other prepared cases
_LEAST = 1e-3  # values below this have no logarithm worth keeping


def slice_axis(fingerprint: Fingerprint) -> int:
    """The array axis across slices: the coarsest by more than a factor of two, else the one of by far the fewest voxels,
    else the first of the plan's order.
    """
    order, full = full_resolution(fingerprint)
    ordered = sorted(full.spacing_mm)
    shape = full.median_shape
    fewest = shape.index(min(shape))
    if ordered[2] <= 2 * ordered[1] and is_thin(shape, fewest):
        return order[fewest]
    return order[0]


def is_thin(shape: Sequence[float], axis: int) -> bool:
    """Whether an axis has less than a third of the voxels that the others have on average."""
    others = [n for other, n in enumerate(shape) if other != axis]
    return THIN * shape[axis] < sum(others) / len(others)


def full_spacing(fingerprint: Fingerprint) -> tuple[float, float, float]:
    """The full-resolution spacing (mm) in the order of the arrays (z, y, x)."""
    z, y, x = in_array_order(*full_resolution(fingerprint))
    return z, y, x


def in_array_order(order: tuple[int, int, int], full: Grid) -> list[float]:
    return [full.spacing_mm[order.index(axis)] for axis in range(3)]


def grids_to_measure(fingerprint: Fingerprint) -> tuple[Factors, ...]:
    """The grids of which a fingerprint holds the ceilings, the full resolution first.

    Coarser along each axis alone, within slices and along all axes; and with the slices of each case, as in 2D.
    """
    order, full = full_resolution(fingerprint)
    across = slice_axis(fingerprint)
    sizes = {axis: n for axis, n in zip(order, full.median_shape, strict=True) if n > 1}
    large = (LARGE_FACTOR,) if full.voxels >= LARGE_VOXELS else ()
    grids: list[Factors] = [(1.0, 1.0, 1.0)]
    for factor in (*MEASURED_FACTORS, *large):
        alone = [] if factor in large else [(axis,) for axis in sizes]
        for axes in (*alone, tuple(axis for axis in sizes if axis != across), tuple(sizes)):
            grids.append(_factors(axes, factor))
    for kept in dict.fromkeys((order[0], across)):
        if kept in sizes:
            grids += [_factors([axis for axis in sizes if axis != kept], factor, kept)
                      for factor in (1.0, *MEASURED_FACTORS)]
    return tuple(dict.fromkeys(grids))


def _factors(axes: Sequence[int], factor: float, kept: int | None = None) -> Factors:
    z, y, x = (None if axis == kept else factor if axis in axes else 1.0 for axis in range(3))
    return z, y, x


def label_ceilings(measured: Sequence[GridCeiling], factors: Factors) -> tuple[LabelCeiling, ...]:
    """What a grid leaves of every label that was measured; `factors` as in `GridCeiling`. Empty where nothing was."""
    if not measured:
        return ()
    names = [label.name for label in measured[0].labels]
    tables = {name: {grid.factors: label for grid in measured for label in grid.labels if label.name == name}
              for name in names}
    bounded = tuple(None if factor is None else max(1.0, factor) for factor in factors)
    return tuple(_label_ceiling(tables[name], bounded) for name in names)


def _label_ceiling(table: Mapping[Factors, LabelCeiling], factors: tuple[float | None, ...]) -> LabelCeiling:
    known = table[1.0, 1.0, 1.0]

    def value(field: str) -> float:
        logs = {grid: math.log(max(_LEAST, getattr(label, field))) for grid, label in table.items()}
        return round(min(1.0, math.exp(_log_value(logs, factors))), 4)

    return known.model_copy(update={field: value(field) for field in ("dice", "dice_p25", "kept")})


def _log_value(logs: Mapping[Factors, float], factors: tuple[float | None, ...]) -> float:
    """The logarithm of a value at a grid, as the module says."""
    own = tuple(None if factor is None else 1.0 for factor in factors)
    if None in factors and own in logs:
        joint, across = [axis for axis in range(3) if factors[axis] is not None], None
    else:
        factors = tuple(factor or 1.0 for factor in factors)
        own, (joint, across) = (1.0, 1.0, 1.0), _joint_axes(logs)
    start = logs[own]  # type: ignore[index]  # three factors

    def along(axes: Sequence[int], factor: float) -> float:
        """What is lost by coarsening these axes alike."""
        base = own if len(axes) > 1 else (1.0, 1.0, 1.0)
        points = {1.0: 0.0}
        for grid, log in logs.items():
            coarse = [axis for axis in range(3) if grid[axis] not in (None, 1.0)]
            same = {grid[axis] for axis in axes}
            kept = all((grid[axis] is None) == (base[axis] is None) for axis in range(3))
            if coarse == sorted(axes) and len(same) == 1 and kept:
                points[same.pop() or 1.0] = log - logs[base]  # type: ignore[index]
        return _interpolated(points, factor)

    sizes = {axis: factor for axis, factor in enumerate(factors) if factor is not None}
    lost = sum(along([axis], factor) for axis, factor in sizes.items())
    lost += _beside(along, joint, min(sizes[axis] for axis in joint))
    if across is not None:
        within = math.prod(sizes[axis] for axis in joint) ** (1 / len(joint))
        smaller = min(sizes[across], within)
        lost += along([*joint, across], smaller) - along(joint, smaller) - along([across], smaller)
    return start + lost


def _beside(along: Callable[[Sequence[int], float], float], axes: Sequence[int], factor: float) -> float:
    """What axes that are coarsened jointly lose beside what each loses alone."""
    return along(axes, factor) - sum(along([axis], factor) for axis in axes) if len(axes) > 1 else 0.0


def _joint_axes(logs: Mapping[Factors, float]) -> tuple[list[int], int | None]:
    """The axes within slices, which were coarsened jointly without the one across them; None: there is none."""
    used = sorted({axis for grid in logs for axis in range(3) if grid[axis] not in (None, 1.0)})
    for grid in logs:
        coarse = [axis for axis in used if grid[axis] not in (None, 1.0)]
        if len(used) == 3 and len(coarse) == 2 and None not in grid:
            return coarse, next(axis for axis in used if axis not in coarse)
    return used or [0], None


def _interpolated(points: Mapping[float, float], factor: float) -> float:
    """Linear in the logarithm of the factor; beyond the last point with the last slope. 0 where only 1 is known."""
    known = sorted(points)
    if len(known) == 1:
        return points[known[0]]
    position = next((i for i, right in enumerate(known) if right >= factor), len(known) - 1)
    left, right = known[max(0, position - 1)], known[max(1, position)]
    share = math.log(factor / left) / math.log(right / left)
    return points[left] + share * (points[right] - points[left])


def ceiling(fingerprint: Fingerprint, spacing_mm: Sequence[float], order: Sequence[int]) -> Ceiling | None:
    """What a planned grid leaves of the labels; None where it was not measured.

    `order` says which array axis is the first, second, third of the plan; a 2D spacing is that of the last two.
    """
    full = full_spacing(fingerprint)
    by_axis: list[float | None] = [None, None, None]
    for axis, mm in zip(reversed(order), reversed(spacing_mm), strict=False):
        by_axis[axis] = mm / full[axis]
    labels = label_ceilings(fingerprint.ceilings, (by_axis[0], by_axis[1], by_axis[2]))
    if not labels:
        return None
    worst = min(labels, key=lambda label: label.dice)
    return Ceiling(label=worst.name, dice=worst.dice, dice_p25=worst.dice_p25, kept=worst.kept,
                   lowest_kept=min(label.kept for label in labels))


def affordable_spacing(fingerprint: Fingerprint, spacing_mm: Sequence[float], gain: float) -> tuple[float, ...]:
    """The coarser spacing that has at least `gain` times fewer voxels and leaves most of the label that loses most.

    Where no grid that leaves enough of every label has so few voxels, the one with the fewest; the spacing itself where none
    leaves enough. Slices are kept, or coarsened less than what lies within them, where that leaves more.
    """
    order, _ = full_resolution(fingerprint)
    grids = []
    for spacing in _coarser_spacings(fingerprint, spacing_mm):
        left = ceiling(fingerprint, spacing, order)
        if left is not None and left.dice >= LOW and left.lowest_kept >= LEAST_KEPT:
            gained = math.prod(spacing) / math.prod(spacing_mm)
            grids.append((min(gained, gain), left.dice, spacing))
    return max(grids)[2] if grids else tuple(spacing_mm)


def _coarser_spacings(fingerprint: Fingerprint, spacing_mm: Sequence[float]) -> list[tuple[float, ...]]:
    order, _ = full_resolution(fingerprint)
    across = order.index(slice_axis(fingerprint)) if len(spacing_mm) == 3 else None
    spacings = []
    for factor in COARSER:
        alike = coarser(spacing_mm, factor)
        spacings.append(alike)
        if across is not None and alike[across] != spacing_mm[across]:
            spacings += [(*alike[:across], spacing_mm[across] * less, *alike[across + 1:])
                         for less in (1.0, *COARSER) if less < factor]
    return spacings


def with_ceilings(plan: Plan, fingerprint: Fingerprint) -> Plan:
    """The plan with `ceiling` set in every configuration, and a reason for each; where nothing was measured the plan says
    so.
    """
    if not fingerprint.ceilings:
        reason = "what the grids leave of the labels (their ceiling) was not measured: coarser grids are planned without it"
        return plan.model_copy(update={"reasons": (*plan.reasons, reason)})
    plan = refreshed(plan, fingerprint)
    configurations = plan.configurations
    reasons = [f"{name}: {described(configuration)}" for name, configuration in configurations.items()
               if configuration.ceiling is not None and not configuration.data]
    measured = {label.name for label in fingerprint.ceilings[0].labels}
    missing = [name for name in fingerprint.labels.foreground if name not in measured]
    reasons += [f"the ceiling of {', '.join(missing)} is not known: no case has it"] if missing else []
    return plan.model_copy(update={"reasons": (*plan.reasons, *reasons)})


def refreshed(plan: Plan, fingerprint: Fingerprint) -> Plan:
    """The plan with the ceilings of its grids as they are now: a person may have edited them."""
    configurations = {name: configuration.model_copy(update={
        "ceiling": ceiling(fingerprint, configuration.spacing_mm, plan.transpose)})
        for name, configuration in plan.configurations.items()}
    return plan.model_copy(update={"configurations": configurations})


def described(configuration: Configuration) -> str:
    """The ceiling of a configuration in one line."""
    known = configuration.ceiling
    if known is None:
        return "what its grid leaves of the labels was not measured"
    return (f"its grid leaves at best Dice {known.dice:.3f} of {known.label} (25th percentile {known.dice_p25:.3f}, "
            f"{known.kept:.0%} of its components)")


def low_ceilings(plan: Plan, fingerprint: Fingerprint) -> tuple[str, ...]:
    """A warning for each configuration whose grid leaves little of a label: which, how small it is, and what to do."""
    if not fingerprint.ceilings:
        return ()
    plan = refreshed(plan, fingerprint)
    low = [name for name, configuration in plan.configurations.items()
           if configuration.ceiling is not None and configuration.ceiling.dice < LOW and not configuration.data]
    better = [name for name, configuration in plan.configurations.items()
              if configuration.ceiling is not None and configuration.ceiling.dice >= LOW]
    return tuple(_warning(name, plan, fingerprint, better) for name in low)


def _warning(name: str, plan: Plan, fingerprint: Fingerprint, better: Sequence[str]) -> str:
    configuration = plan.configurations[name]
    known = configuration.ceiling
    assert known is not None
    finest = next((label.dice for label in fingerprint.ceilings[0].labels if label.name == known.label), known.dice)
    grid = "x".join(f"{mm:.3g}" for mm in configuration.spacing_mm)
    if better:
        do = f"train {better[0]}, whose grid leaves more"
    elif finest >= LOW:
        do = (f"allow more time or memory, or give a plan of your own a finer spacing_mm (the full resolution leaves "
              f"{finest:.3f})")
    else:
        do = ("even the full resolution leaves no more: give a plan of your own a finer spacing_mm, merge the label with "
              "another one, or annotate finer images")
    size = _size(known.label, configuration, plan.transpose, fingerprint)
    return f"{name}: its grid of {grid} mm leaves at best Dice {known.dice:.3f} of {size}; {do}"


def _size(label: str, configuration: Configuration, order: Sequence[int], fingerprint: Fingerprint) -> str:
    """A label with how small it is, as far as it was measured."""
    stats = next((stats for stats in fingerprint.label_stats if stats.name == label), None)
    if stats is None or stats.extent_mm is None:
        return label
    extent = [stats.extent_mm[axis] for axis in order[-configuration.dimensions:]]
    across = min(mm / own for mm, own in zip(extent, configuration.spacing_mm, strict=True))
    return (f"{label} ({'x'.join(f'{mm:.3g}' for mm in extent)} mm, {across:.2g} voxels across; median component "
            f"{stats.component_ml_percentiles[2]:.3g} mL)")


def thickness(fingerprint: Fingerprint) -> float:
    """How many times thicker slices are than their spacing says, 1 to 8.

    What a label loses along an axis that is coarser by a factor is proportional to its voxels' size there. So losses across
    and within slices, for the same factor, are as the true sizes of a voxel, if labels extend as far across slices as
    within them; the median over factors and labels is taken. 1 where there are not by far fewer slices than voxels within
    them, and where nothing was measured or lost.
    """
    order, full = full_resolution(fingerprint)
    across = slice_axis(fingerprint)
    if not fingerprint.ceilings or not is_thin(full.median_shape, order.index(across)):
        return 1.0
    spacing = in_array_order(order, full)
    ratios = []
    for label in fingerprint.ceilings[0].labels:
        lost = {axis: _losses(fingerprint.ceilings, label.name, axis) for axis in range(3)}
        for factor, loss in lost[across].items():
            if loss >= LOSS_IS_NOISE:
                within = [max(_LEAST, lost[axis][factor]) / spacing[axis] for axis in range(3) if axis != across]
                ratios.append(loss / spacing[across] / (sum(within) / len(within)))
    return min(THICKEST, max(1.0, median(ratios))) if ratios else 1.0


def _losses(measured: Sequence[GridCeiling], name: str, axis: int) -> dict[float, float]:
    """The mean Dice that a label loses where one axis alone is coarser, by factor."""
    dice = {grid.factors: label.dice for grid in measured for label in grid.labels if label.name == name}
    return {factor: dice[1.0, 1.0, 1.0] - dice[grid] for factor in MEASURED_FACTORS
            if (grid := _factors([axis], factor)) in dice}
