"""The probability with which an untrained network predicts each label: the label's share of the voxels."""

import math

from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Plan

# A label that is rarer, such as a lesion, gets 1 % (Lin et al. 2017, pi = 0.01): with a much smaller probability its Dice
# has almost no gradient at the start.
RAREST, COMMONEST = 0.01, 0.99
RARE_TOGETHER = 0.1  # of plain labels, which share the voxels: a hundred rare ones must leave background what it has


def with_prior(plan: Plan, fingerprint: Fingerprint) -> Plan:
    """The plan with `prior` set in every configuration; as it is where the labels were not measured, or with an ignore
    label, because nobody has counted the voxels that it leaves.

    A label's prior is its share of the voxels of the cases that have it, kept between `RAREST` and `COMMONEST`. Other cases
    do not count, because the label may not be annotated there.
    """
    labels = fingerprint.labels
    stats = {stat.name: stat for stat in fingerprint.label_stats}
    if labels.ignore is not None or any(name not in stats for name in labels.foreground):
        return plan
    floor = RAREST if labels.has_regions else min(RAREST, RARE_TOGETHER / len(labels.foreground))
    voxels_per_case = sum(math.prod(case.shape) for case in fingerprint.cases) / len(fingerprint.cases)
    shares = [stats[name].voxels / (voxels_per_case * max(1, stats[name].cases)) for name in labels.foreground]
    prior = tuple(round(min(max(share, floor), COMMONEST), 5) for share in shares)
    listed = ", ".join(f"{name} {share:.2g}" for name, share in zip(labels.foreground, prior, strict=True))
    reason = f"untrained networks start at the labels' shares of the voxels, not at equal probabilities: {listed}"
    configurations = {name: configuration.model_copy(update={"prior": prior})
                      for name, configuration in plan.configurations.items()}
    return plan.model_copy(update={"configurations": configurations, "reasons": (*plan.reasons, reason)})
