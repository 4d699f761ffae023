"""Whether a configuration of a plan fits together, and whether its parts are known: a person may have edited it."""

from autoseg.base.errors import UserError, hint
from autoseg.base.parts import check_part
from autoseg.batches.augment import AUGMENTATIONS, build_appearance, build_augmentation
from autoseg.nn.conditioning import CONDITIONERS
from autoseg.nn.fusion import FUSIONS
from autoseg.nn.losses import LOSSES
from autoseg.nn.networks import NETWORKS
from autoseg.planning.store import configuration_of
from autoseg.training.optimizers import OPTIMIZERS
from autoseg.training.tasks.segmentation import channel_traits
from planners.registry import Registry
from planners.rules.phases import sizes_of
from planners.schema.base import Part
from planners.schema.plan import Configuration, Plan


def check_plan(plan: Plan, name: str) -> None:
    """A UserError where a configuration of the plan does not fit together, or names a part that is not known."""
    configuration = configuration_of(plan, name)
    faults = _shape_faults(plan, configuration)
    if faults:
        raise UserError(f"{name} does not fit together", where=f"{plan.dataset}, plan {plan.planner}",
                        found="; ".join(faults), do="correct the plan, or what --set changes in it")
    for registry, part in _parts(configuration):
        check_part(registry, part, f"{plan.dataset} {name}")
    if configuration.mirror_views == "alternating":
        build_augmentation(configuration.augmentation, configuration, plan.labels, "cpu")
    # Each of them knows which channels it may change.
    build_appearance(configuration, plan.labels, "cpu", channel_traits(configuration.normalizers))


def _parts(configuration: Configuration) -> tuple[tuple[Registry, Part], ...]:
    """What training will build. Normalisers are not among them: cases are normalised already."""
    return ((FUSIONS, configuration.fusion), (NETWORKS, configuration.network), (LOSSES, configuration.loss),
            (CONDITIONERS, configuration.conditioning), (AUGMENTATIONS, configuration.augmentation),
            *((AUGMENTATIONS, part) for part in configuration.appearance),
            (OPTIMIZERS, configuration.schedule.optimizer))


def _shape_faults(planned: Plan, chosen: Configuration) -> list[str]:
    """What a person who edits a plan can forget: values that must agree with each other."""
    n, faults = chosen.dimensions, chosen.architecture.faults(chosen.patch)
    wanted = NETWORKS.traits(chosen.network.name).architecture
    if wanted not in ("", chosen.architecture.kind):
        faults.append(f"the network {chosen.network.name!r} wants an architecture of kind {wanted!r}, this one is "
                      f"{chosen.architecture.kind!r}")
    if len(chosen.spacing_mm) != n:
        faults.append(f"spacing_mm must have {n} axes, as the patch has")
    if len(chosen.normalizers) != len(planned.channels):
        faults.append(f"{len(chosen.normalizers)} normalizers for {len(planned.channels)} channels")
    if len(chosen.prior) not in (0, len(planned.labels.foreground)):
        faults.append(f"{len(chosen.prior)} values of prior for {len(planned.labels.foreground)} foreground names")
    faults += _weight_faults(planned, chosen)
    faults += _schedule_faults(chosen)
    if any(axis not in range(n) for axis in chosen.mirror_axes):
        faults.append(f"mirror_axes are numbers from 0 to {n - 1}")
    faults += _mirroring_faults(chosen)
    faults += [f"there is no configuration {other!r}" for other in (chosen.data, chosen.previous)
               if other and other not in planned.configurations]
    return faults or _phase_faults(chosen)


def _phase_faults(chosen: Configuration) -> list[str]:
    """Why the patch of a phase does not fit the network; of a plan that fits otherwise."""
    return [f"phase {number}: {fault}" for number, size in enumerate(sizes_of(chosen), 1)
            for fault in chosen.architecture.faults(size.patch)]


def _mirroring_faults(chosen: Configuration) -> list[str]:
    name = chosen.augmentation.name
    reads = name not in AUGMENTATIONS.names() or AUGMENTATIONS.traits(name).alternates
    return [] if chosen.mirror_views == "random" or reads else [f"the augmentation {name!r} reads no mirror_views"]


def _schedule_faults(chosen: Configuration) -> list[str]:
    schedule = chosen.schedule
    none = schedule.iterations is None and schedule.budget_seconds is None
    faults = ["the schedule has neither iterations nor budget_seconds"] if none else []
    if OPTIMIZERS.traits(schedule.optimizer.name).averages and (schedule.ema or schedule.decay != "constant"):
        faults.append(f"{schedule.optimizer.name} averages weights itself, at a constant rate: schedule.ema must be 0 and "
                      "schedule.decay constant")
    return faults


def _weight_faults(planned: Plan, chosen: Configuration) -> list[str]:
    known = planned.labels.foreground
    faults = [f"class_weights names {name!r}, which is no label{hint(name, known)}; known: {', '.join(known)}"
              for name in chosen.class_weights if name not in known]
    if chosen.class_weights and chosen.loss.name in LOSSES.names() and not LOSSES.traits(chosen.loss.name).weighs_classes:
        faults.append(f"the loss {chosen.loss.name!r} reads no class_weights")
    return faults
