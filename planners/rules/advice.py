"""Which configuration to train first: a guess before anything is trained, with its reason. A race measures it
(`autoseg_run --total`).

A volume is the guess where nothing speaks against it: its context is that of all three axes. What speaks for slices by
themselves was measured on phantoms (benchmarks/RESULTS.md, "Patch and width").
"""

from collections.abc import Mapping, Sequence

from planners.rules.budget import SELDOM_SEEN
from planners.rules.ceiling import slice_axis, thickness
from planners.rules.spacing import ANISOTROPY, full_resolution
from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Advice, Configuration, Plan

BETTER_CEILING = 0.02  # of Dice: what a grid of volumes may lose more than that of slices
# Views of a voxel from which volumes come first with thick slices, too: only shorter trainings were measured.
SEEN_ENOUGH = 100
USUAL = ("3d_fullres", "3d_lowres", "2d")


def with_advice(plan: Plan, fingerprint: Fingerprint) -> Plan:
    """The plan with `first` set, for `autoseg_train` without a configuration."""
    known = {name: configuration for name, configuration in plan.configurations.items() if not configuration.previous}
    name, why = _first(known, _thickness_in_pixels(fingerprint))
    return plan.model_copy(update={"first": Advice(configuration=name, reason=_sentence(name, why, known))})


def advice_of(plan: Plan, among: Sequence[str] | None = None) -> Advice:
    """What a plan advises to train first, `among` some of its configurations."""
    names = [name for name in plan.configurations if among is None or name in among]
    if plan.first is not None and plan.first.configuration in names:
        return plan.first
    name = next((usual for usual in USUAL if usual in names), names[0])
    why = "of those that were asked for" if plan.first is not None else "the plan does not say which is best"
    return Advice(configuration=name, reason=f"{name}: {why}")


def _first(known: Mapping[str, Configuration], thickness_in_pixels: float) -> tuple[str, str]:
    """The configuration, and why in words."""
    if len(known) == 1:
        return next(iter(known)), "there is no other"
    volume = next((name for name in USUAL if name in known and known[name].dimensions == 3), None)
    if volume is None:
        return next(iter(known)), "the first of the plan"
    seen = known[volume].views
    if volume == "3d_fullres" and "3d_lowres" in known and seen is not None and seen < SELDOM_SEEN:
        volume = "3d_lowres"
    if "2d" in known:
        flat, solid = known["2d"].ceiling, known[volume].ceiling
        if flat is not None and solid is not None and flat.dice - solid.dice >= BETTER_CEILING:
            return "2d", f"the grid of {volume} leaves less of the labels"
        if thickness_in_pixels >= ANISOTROPY and seen is not None and seen < SEEN_ENOUGH:
            return "2d", (f"slices seem to be {thickness_in_pixels:.1f} times thicker than their pixels, so that neighbours "
                          "tell little in a short training")
    if volume == "3d_lowres":
        return volume, "at full resolution a voxel would be seen too seldom"
    return volume, "it sees all three axes, and its grid leaves as much of the labels"


def _thickness_in_pixels(fingerprint: Fingerprint) -> float:
    """How many times thicker slices are than their coarser pixel edge, as the structures say."""
    order, full = full_resolution(fingerprint)
    across = order.index(slice_axis(fingerprint))
    pixel_mm = max(mm for axis, mm in enumerate(full.spacing_mm) if axis != across)
    return full.spacing_mm[across] * thickness(fingerprint) / pixel_mm


def _sentence(first: str, why: str, known: Mapping[str, Configuration]) -> str:
    """The advice with what is known of every configuration: ceiling, views of a voxel, cost of a step."""
    facts = []
    for name, configuration in known.items():
        values = []
        if configuration.ceiling is not None:
            values.append(f"Dice {configuration.ceiling.dice:.3f} at best")
        if configuration.views is not None:
            values.append(f"{configuration.views:.0f} views of a voxel")
        if configuration.step_seconds is not None:
            values.append(f"{configuration.step_seconds:.2f} s per step")
        if values:
            facts.append(f"{name} {', '.join(values)}")
    return f"{first} first: {why}" + (f" ({'; '.join(facts)})" if facts else "")
