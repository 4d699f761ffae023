"""With what probability an untrained network answers each label: as often as the dataset has it."""

import math

from planners.fingerprint import Fingerprint
from planners.plan import Plan

# A label as rare as a lesion is taken for one of a hundred voxels (Lin et al. 2017, pi = 0.01): a probability much
# smaller leaves the gradient of its Dice nothing to begin with.
RAREST, COMMONEST = 0.01, 0.99


def with_prior(plan: Plan, fingerprint: Fingerprint) -> Plan:
    """The plan with `prior` set in every configuration, where the labels were measured; else as it is.

    A label's prior is its share of the voxels of all cases, kept between `RAREST` and `COMMONEST`.
    """
    voxels = {stats.name: stats.voxels for stats in fingerprint.label_stats}
    whole = sum(math.prod(case.shape) for case in fingerprint.cases)
    names = fingerprint.labels.foreground
    if not whole or any(name not in voxels for name in names):
        return plan
    prior = tuple(round(min(max(voxels[name] / whole, RAREST), COMMONEST), 4) for name in names)
    shares = ", ".join(f"{name} {share:.2g}" for name, share in zip(names, prior, strict=True))
    reason = f"untrained networks begin at the labels' shares of the voxels, not at even odds: {shares}"
    configurations = {name: configuration.model_copy(update={"prior": prior})
                      for name, configuration in plan.configurations.items()}
    return plan.model_copy(update={"configurations": configurations, "reasons": (*plan.reasons, reason)})
