"""The memory that training a configuration takes, by arithmetic, and whether it is free: checked before training starts."""

import logging

import torch

from autoseg.base.memory import check_fits, free_host_bytes, size
from autoseg.base.runtime import Runtime, free_device_bytes
from autoseg.nn.networks import NETWORKS
from autoseg.training.optimizers import OPTIMIZERS
from planners.rules.phases import planned_size, sizes_of
from planners.schema.plan import Plan

logger = logging.getLogger(__name__)


def step_bytes(plan: Plan, configuration: str, bytes_per_value: int = 4) -> int | None:
    """Memory of a step (`planners.architectures`) without data, of the costliest phase; None for a network of unknown
    cost.
    """
    chosen = plan.configurations[configuration]
    if not NETWORKS.traits(chosen.network.name).costs_as_planned:
        return None
    earlier = len(plan.labels.foreground) if chosen.previous else 0
    return max(chosen.architecture.training_bytes(
        size.patch, len(chosen.normalizers) + earlier, plan.labels.n_heads, batch=size.batch,
        bytes_per_value=bytes_per_value, moments=OPTIMIZERS.traits(chosen.schedule.optimizer.name).moments,
        averaged=chosen.schedule.ema > 0) for size in (planned_size(chosen), *sizes_of(chosen)))


def check_step(plan: Plan, configuration: str, runtime: Runtime) -> bool:
    """Whether a step fits what is free on the device; where it does not, a warning says both. Data follow on their own:
    they stay on the disk where they do not fit.
    """
    estimate = step_bytes(plan, configuration, 2 if runtime.dtype != torch.float32 else 4)
    if estimate is None or runtime.device.type not in ("cpu", "cuda"):
        return True
    on_gpu = runtime.device.type == "cuda"
    free = free_device_bytes(runtime.device) if on_gpu else free_host_bytes()
    logger.info("training %s: about %s per step, %s free on %s", configuration, size(estimate), size(free), runtime.device)
    return check_fits(estimate, f"training {configuration}", free)
