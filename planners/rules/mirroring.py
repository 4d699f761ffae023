"""Which axes of a patch may be mirrored, and along which of them left becomes right."""

from collections import Counter
from typing import Any

from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Plan

AGREEMENT = 0.95  # share of the cases that must have their left-right axis where the others have it


def with_mirroring(plan: Plan, fingerprint: Fingerprint) -> Plan:
    """The plan with `pair_axis` set in every configuration, from where the patients' left and right lie in the arrays.

    Without paired labels nothing changes but that. With them, cases whose left-right axes differ leave no axis that could
    be swapped, so nothing is mirrored; the reason is written into the plan.
    """
    counts = Counter(case.left_right_axis for case in fingerprint.cases)
    axis, most = counts.most_common(1)[0] if counts else (2, 0)
    agree = most >= AGREEMENT * len(fingerprint.cases)
    place = plan.transpose.index(axis)
    reasons = list(plan.reasons)
    if fingerprint.labels.paired and not agree:
        reasons.append("nothing is mirrored: labels are paired, and left and right lie along different axes of the cases")
    elif fingerprint.labels.paired:
        pairs = ", ".join(f"{a}/{b}" for a, b in fingerprint.labels.paired)
        reasons.append(f"mirroring along axis {place} swaps {pairs}")
    configurations = {}
    for name, configuration in plan.configurations.items():
        changes: dict[str, Any] = {"pair_axis": None}
        if agree and place >= 3 - configuration.dimensions:
            changes["pair_axis"] = place - (3 - configuration.dimensions)
        if fingerprint.labels.paired and not agree:
            changes["mirror_axes"] = ()
        configurations[name] = configuration.model_copy(update=changes)
    return plan.model_copy(update={"configurations": configurations, "reasons": tuple(reasons)})
