"""A planner of your own: `budgeted`, with more patches on foreground if lesions are small.

Run in the folder of this file (any module that Python can import will do):

    autoseg_plan_and_preprocess -d 4 -p small_lesions --plugin plugin_planner
    autoseg_train 4 3d_fullres 0 -p small_lesions
    autoseg_predict -i imgs -o masks -p small_lesions

A planner is a pure function (fingerprint, hardware, budget) -> plan. Only planning needs the plug-in, because
everything that it decides is in the plan. It writes its name into `planner` and its reasons into `reasons`.
"""

from planners import PLANNERS
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import Budget, Hardware
from planners.schema.plan import Plan

SMALL_ML = 1.0  # a ball of 12 mm
FOREGROUND_SHARE = 2 / 3


@PLANNERS.register("small_lesions")
def small_lesions(fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    """The plan of `budgeted`; two patches of three lie on foreground if half of some label's components are below 1 mL."""
    plan = PLANNERS.get("budgeted")(fingerprint, hardware, budget)
    medians_ml = {label.name: label.component_ml_percentiles[2] for label in fingerprint.label_stats if label.components}
    small = [name for name, median_ml in medians_ml.items() if median_ml < SMALL_ML]
    if not small:
        return plan.model_copy(update={"planner": "small_lesions"})
    configurations = {}
    for name, configuration in plan.configurations.items():
        schedule = configuration.schedule.model_copy(update={"foreground_share": FOREGROUND_SHARE})
        configurations[name] = configuration.model_copy(update={"schedule": schedule})
    reason = f"two patches of three lie on foreground: half of the components of {', '.join(small)} are below 1 mL"
    return plan.model_copy(update={"planner": "small_lesions", "configurations": configurations,
                                   "reasons": (*plan.reasons, reason)})
