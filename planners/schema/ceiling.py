"""What a grid leaves of the labels: the Dice of the truth that is brought to the grid and back, at best."""

from pydantic import Field

from planners.schema.base import Frozen

Factors = tuple[float | None, float | None, float | None]


class LabelCeiling(Frozen):
    """What a grid leaves of one label, over the sampled cases that have it.

    `kept` is the share of the label's 26-connected components of which a voxel is left, whatever their size.
    """

    name: str
    cases: int
    dice: float  # mean over the cases
    dice_p25: float  # 25th percentile over the cases
    components: int
    kept: float


class GridCeiling(Frozen):
    """A grid by how much coarser it is than the full resolution along each axis, and what it leaves of every label.

    Axes are those of the arrays (z, y, x). None along an axis: each case keeps its own spacing there, as the slices of a
    2D configuration do. Labels that no sampled case has are left out.
    """

    factors: Factors
    labels: tuple[LabelCeiling, ...]


class Ceiling(Frozen):
    """The label that a configuration's grid leaves least of, by mean Dice; and the least that it keeps of any label's
    components.
    """

    label: str
    dice: float = Field(ge=0, le=1)
    dice_p25: float = Field(ge=0, le=1)
    kept: float = Field(ge=0, le=1)
    lowest_kept: float = Field(ge=0, le=1)
