"""The hardware of this machine, each fact asked of torch when a planner asks for it: most planners do not."""

import logging
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from autoseg.base.contention import DISTURBED, Watch
from autoseg.base.processes import cores

if TYPE_CHECKING:
    from autoseg.base.runtime import Runtime
    from planners.schema.hardware import StepSpeed

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProbedHardware:
    """The hardware of a device by its name, `auto`, `cpu`, `cuda`, `cuda:1` or `mps` (`planners.schema.hardware.Hardware`).

    A UserError where the machine has no such device, when `runtime` or anything that needs it is first asked for.
    """

    name: str = "auto"

    @cached_property
    def runtime(self) -> "Runtime":
        from autoseg.base.runtime import open_runtime

        return open_runtime(self.name)

    @property
    def device(self) -> str:
        return self.runtime.device.type

    @property
    def memory_bytes(self) -> int:
        from autoseg.base.runtime import memory_bytes

        return max(1, memory_bytes(self.runtime.device))

    @property
    def cores(self) -> int:
        return cores()

    @cached_property
    def speed(self) -> "StepSpeed":
        """Measured, which takes three seconds; a warning says where other programs took part of the machine meanwhile."""
        from autoseg.planning.speed import measured_speed

        watch = Watch()
        speed = measured_speed(self.runtime)
        others, _ = watch.look()
        if others is not None and others > DISTURBED and self.device == "cpu":
            logger.warning("other programs took %.0f %% of the processor while its speed was measured: the plan is for what "
                           "they leave; for the whole machine end them and plan again", 100 * others)
        return speed
