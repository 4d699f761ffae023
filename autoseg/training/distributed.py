"""One fold trained by several processes, as `torchrun` starts them: joining, and the sum of their gradients.

Every process draws the whole batch of the plan from the same seed and keeps its own samples. Losses and gradients are sums
over all processes, and the first process decides whatever depends on a clock. So the training is that of one process, except
for the order in which floating-point numbers are added.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist

from autoseg.base.errors import UserError
from autoseg.base.processes import cores
from autoseg.base.ranks import Ranks, is_first, join, ranks
from autoseg.base.runtime import open_runtime
from autoseg.nn.losses import LOSSES
from planners.rules.phases import sizes_of
from planners.schema.plan import Configuration

logger = logging.getLogger(__name__)

# The first process prepares a cascade's cases alone, and validation cases differ in size: others wait for as long as it
# takes. A process that dies ends the others by torchrun, not by this limit.
_PATIENCE = timedelta(hours=24)
_VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@contextmanager
def joined(device: str = "auto") -> Iterator[str]:
    """The device of this process; one of several where torchrun's environment says so, else simply `device`.

    Without a number, `cuda` is the GPU of the process's number on its machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        yield device
        return
    rank, n, local, n_local = _environment()
    name = _own_device(device, local)
    cuda = name.startswith("cuda")
    if cuda:
        open_runtime(name)  # says what is wrong where there is no such GPU
        torch.cuda.set_device(torch.device(name))
    if not cuda and os.environ.get("OMP_NUM_THREADS", "1") == "1":  # torchrun says 1, whatever the machine has
        torch.set_num_threads(max(1, cores() // n_local))
    dist.init_process_group("nccl" if cuda else "gloo", timeout=_PATIENCE)
    level = logging.getLogger("autoseg").level
    try:
        with join(Ranks(rank, n, n_local)):
            if not is_first():
                logging.getLogger("autoseg").setLevel(logging.ERROR)
            logger.info("%d processes train together", n)
            yield name
    finally:
        logging.getLogger("autoseg").setLevel(level)
        dist.destroy_process_group()


def _environment() -> list[int]:
    try:
        return [int(os.environ[variable]) for variable in _VARIABLES]
    except (KeyError, ValueError) as error:
        raise UserError("the environment of several processes is incomplete", found=error, expected=", ".join(_VARIABLES),
                        do="start them with torchrun, or unset WORLD_SIZE") from None


def _own_device(device: str, local: int) -> str:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return f"cuda:{local}" if device == "cuda" else device


def check_shareable(configuration: Configuration, where: str) -> None:
    """A UserError where several processes could not train this as one would."""
    n = ranks().n
    if n == 1:
        return
    if configuration.batch % n:
        raise UserError(f"{n} processes cannot share a batch evenly", where=where, found=f"a batch of {configuration.batch}",
                        do=f"use as many processes as divide it, or --set batch={-(-configuration.batch // n) * n}")
    if uneven := [size.batch for size in sizes_of(configuration) if size.batch % n]:
        raise UserError(f"{n} processes cannot share a batch evenly", where=where,
                        found=f"a phase with a batch of {uneven[0]}",
                        do="use as many processes as divide it, or other values of batch_factor in schedule.phases")
    if not LOSSES.traits(configuration.loss.name).sums_over_processes:
        raise UserError(f"the loss {configuration.loss.name!r} can only be computed by one process", where=where,
                        do="train in one process, or let the loss sum by autoseg.base.ranks.total and register it with "
                           "sums_over_processes=True")


def sum_gradients(parameters: Iterable[torch.Tensor]) -> None:
    """Replace every gradient by its sum over the processes; all of them have gradients of the same parameters."""
    if ranks().n == 1:
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(summed.view(gradient.shape))
