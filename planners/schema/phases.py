"""Phases of a training, in which patches and batches have other sizes than the plan's."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from planners.schema.base import Frozen


class Phase(Frozen):
    """A part of a training that ends at the share `until` of its iterations.

    The edges of its patch are the share `patch_share` of the plan's, as near as the network allows. A batch has
    `batch_factor` times as many patches as the plan's; `same_voxels`: as many as make up the voxels of the plan's batch.
    """

    until: float = Field(gt=0, le=1)
    patch_share: float = Field(default=1.0, gt=0, le=1)
    batch_factor: Annotated[float, Field(gt=0, allow_inf_nan=False)] | Literal["same_voxels"] = 1.0


def _in_order(phases: tuple[Phase, ...]) -> tuple[Phase, ...]:
    ends = [phase.until for phase in phases]
    if ends != sorted(set(ends)):
        raise ValueError(f"each phase must end later than the one before it: `until` must rise, got {ends}")
    return phases


Phases = Annotated[tuple[Phase, ...], AfterValidator(_in_order)]
