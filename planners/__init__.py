"""Decides: fingerprint + hardware + budget -> plan. Pure: no torch, no disk, no clock, no global random state."""

from collections.abc import Callable

from planners.budgeted import budgeted as _budgeted
from planners.classic import classic as _classic  # the bare names stay the modules'
from planners.light import light as _light
from planners.primus import primus as _primus
from planners.primus import vit2d
from planners.registry import NoTraits, Registry
from planners.resenc import resenc_l, resenc_m, resenc_xl
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import Budget, Hardware
from planners.schema.plan import Plan

Planner = Callable[[Fingerprint, Hardware, Budget], Plan]

PLANNERS: Registry[Planner, NoTraits] = Registry("planner", NoTraits)

for _planner in (_budgeted, _classic, _light, resenc_m, resenc_l, resenc_xl, _primus, vit2d):
    PLANNERS.register(_planner.__name__)(_planner)
