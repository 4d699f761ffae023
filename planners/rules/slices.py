"""Slices that are thicker than their header says: the rules of spacing, patch and strides see what the structures say."""

from planners.rules.ceiling import slice_axis, thickness
from planners.schema.base import Frozen
from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Configuration, Plan

# Strides and kernels treat axes alike that differ by less than a factor of two, so a smaller factor changes nothing.
THICK = 2.0


class Slices(Frozen):
    """The array axis across slices, and how many times thicker they are than their spacing."""

    axis: int
    factor: float


def thick_slices(fingerprint: Fingerprint) -> Slices | None:
    """The slices of a dataset whose headers make them too thin; None where they do not."""
    factor = thickness(fingerprint)
    return Slices(axis=slice_axis(fingerprint), factor=factor) if factor >= THICK else None


def as_thick_as_they_are(fingerprint: Fingerprint, slices: Slices) -> Fingerprint:
    """The fingerprint with the spacing of the slices that their structures say."""
    def scaled(spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        z, y, x = (mm * slices.factor if axis == slices.axis else mm for axis, mm in enumerate(spacing_mm))
        return z, y, x

    cases = tuple(case.model_copy(update={"spacing_mm": scaled(case.spacing_mm)}) for case in fingerprint.cases)
    return fingerprint.model_copy(update={"cases": cases})


def as_headers_say(plan: Plan, slices: Slices) -> Plan:
    """The plan of `as_thick_as_they_are` with spacings as files give them, which preparing reads."""
    configurations = {name: _as_headers_say(configuration, plan.transpose, slices)
                      for name, configuration in plan.configurations.items()}
    reason = (f"strides and patches take slices to be {slices.factor:.1f} times thicker than their headers say: a coarser "
              "grid loses so many times more of the labels across slices than within them")
    return plan.model_copy(update={"configurations": configurations, "reasons": (*plan.reasons, reason)})


def _as_headers_say(configuration: Configuration, transpose: tuple[int, ...], slices: Slices) -> Configuration:
    axes = transpose[-configuration.dimensions:]
    spacing = tuple(mm / slices.factor if axis == slices.axis else mm
                    for axis, mm in zip(axes, configuration.spacing_mm, strict=True))
    return configuration.model_copy(update={"spacing_mm": spacing})
