"""The schedule of a training that begins with the weights of another one, and back."""

from planners.schema.plan import Configuration, Plan, Transfer

WARM_UP_SHARE = 0.05  # 50 of 1,000 epochs, as nnU-Net fine-tunes weights of a pre-training
# Share of the learning rate from scratch, by what the weights learned from. nnU-Net's SGD is fine-tuned with 1e-3 in place
# of 1e-2. AdamW scales each step by itself: half of the rate is enough for weights that know labels. Those of a pre-training
# have more to learn: 8 hippocampi, 343 iterations, three seeds, Dice 0.823 with the whole rate and 0.814 with half of it
# (benchmarks/RESULTS.md).
SGD_RATE = 0.1
RATES = {"labels": 0.5, "images": 1.0}


def for_transfer(plan: Plan, name: str, transfer: Transfer) -> Plan:
    """The plan with one configuration that begins with other weights: a warm-up and a lower rate.

    A configuration that begins so already only gets another source and what is frozen.
    """
    known = plan.configurations[name]
    before = from_scratch(known)
    rate = SGD_RATE if before.schedule.optimizer.name == "sgd" else RATES[transfer.learned_from]
    schedule = before.schedule.model_copy(update={
        "learning_rate": before.schedule.learning_rate * rate,
        "warmup_share": max(WARM_UP_SHARE, before.schedule.warmup_share)})
    changed = before.model_copy(update={"schedule": schedule,
                                        "transfer": transfer.model_copy(
                                            update={"learning_rate": before.schedule.learning_rate,
                                                    "warmup_share": before.schedule.warmup_share})})
    return plan.model_copy(update={"configurations": {**plan.configurations, name: changed.foreseen_only_as(known)}})


def from_scratch(configuration: Configuration) -> Configuration:
    """The configuration with untrained weights and its whole learning rate."""
    transfer = configuration.transfer
    if transfer is None:
        return configuration
    schedule = configuration.schedule.model_copy(update={
        "learning_rate": transfer.learning_rate or configuration.schedule.learning_rate,
        "warmup_share": transfer.warmup_share})
    return configuration.model_copy(update={"schedule": schedule, "transfer": None})
