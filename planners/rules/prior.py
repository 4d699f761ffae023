"""With what probability an untrained network answers each label: as often as the dataset has it."""

import math

from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Plan

# A label as rare as a lesion is taken for one of a hundred voxels (Lin et al. 2017, pi = 0.01): a probability much
# smaller leaves the gradient of its Dice nothing to begin with.
RAREST, COMMONEST = 0.01, 0.99
RARE_TOGETHER = 0.1  # of plain labels, which share the voxels: a hundred rare ones must leave background what it has


def with_prior(plan: Plan, fingerprint: Fingerprint) -> Plan:
    """The plan with `prior` set in every configuration; as it is where the labels were not measured, or with an ignore
    label, because nobody has counted the voxels that it leaves.

    A label's prior is its share of the voxels of the cases that have it, as of others it may not be known, kept between
    `RAREST` and `COMMONEST`.
    """
    labels = fingerprint.labels
    stats = {stat.name: stat for stat in fingerprint.label_stats}
    if labels.ignore is not None or any(name not in stats for name in labels.foreground):
        return plan
    floor = RAREST if labels.has_regions else min(RAREST, RARE_TOGETHER / len(labels.foreground))
    voxels_a_case = sum(math.prod(case.shape) for case in fingerprint.cases) / len(fingerprint.cases)
    shares = [stats[name].voxels / (voxels_a_case * max(1, stats[name].cases)) for name in labels.foreground]
    prior = tuple(round(min(max(share, floor), COMMONEST), 5) for share in shares)
    listed = ", ".join(f"{name} {share:.2g}" for name, share in zip(labels.foreground, prior, strict=True))
    reason = f"untrained networks begin at the labels' shares of the voxels, not at even odds: {listed}"
    configurations = {name: configuration.model_copy(update={"prior": prior})
                      for name, configuration in plan.configurations.items()}
    return plan.model_copy(update={"configurations": configurations, "reasons": (*plan.reasons, reason)})
