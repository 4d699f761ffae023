"""A planner for the comparison on CT: the classic plan with 3d_fullres at TARGET_MM, as -overwrite_target_spacing does."""

from planners import PLANNERS
from planners.classic import classic
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import Budget, Hardware
from planners.schema.plan import Plan

from .cases import TARGET_MM


@PLANNERS.register("classic_at_target")
def classic_at_target(fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    plan = classic(fingerprint, hardware, budget)
    full = plan.configurations["3d_fullres"].model_copy(update={"spacing_mm": TARGET_MM})
    return plan.model_copy(update={"configurations": {**plan.configurations, "3d_fullres": full}})
