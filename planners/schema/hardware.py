"""What the machine has and what the user allows, as data."""

from typing import Protocol

from pydantic import Field

from planners.schema.base import Frozen

GIB = 1024**3


class Hardware(Protocol):
    """The device that trains. `flops_per_s` is what convolutions reach when measured, not a data sheet's figure; measuring
    takes a second, so a planner asks for it only where it plans to a time."""

    @property
    def device(self) -> str: ...
    @property
    def memory_bytes(self) -> int: ...
    @property
    def flops_per_s(self) -> float: ...
    @property
    def cores(self) -> int: ...


class KnownHardware(Frozen):
    """Hardware of which everything is known."""

    device: str = "cpu"
    memory_bytes: int = Field(gt=0)
    flops_per_s: float = Field(gt=0)
    cores: int = Field(gt=0)


class Budget(Frozen):
    """What a fold may use: memory on the device and wall-clock time, validation included; None: the planner's default."""

    memory_bytes: int | None = Field(default=None, gt=0)
    seconds_per_fold: float | None = Field(default=None, gt=0)
