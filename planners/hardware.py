"""What the machine offers and what the user grants, as data."""

from pydantic import Field

from planners.base import Frozen

GIB = 1024**3


class Hardware(Frozen):
    """The device that trains. `flops_per_s` is what convolutions reach when measured, not a data sheet's figure."""

    device: str = "cpu"
    memory_bytes: int = Field(gt=0)
    flops_per_s: float = Field(gt=0)
    cores: int = Field(gt=0)


class Budget(Frozen):
    """What a fold may use: memory on the device and wall-clock time, validation included; None: the planner's default."""

    memory_bytes: int | None = Field(default=None, gt=0)
    seconds_per_fold: float | None = Field(default=None, gt=0)
