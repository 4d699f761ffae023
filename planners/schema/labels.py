"""What is segmented."""

from collections.abc import Sequence

from pydantic import model_validator

from planners.schema.base import Frozen


class LabelSpec(Frozen):
    """Names and values of what is segmented.

    `names` maps each name (background included, ignore excluded) to the label values that form it; more than one value
    makes it a region. `region_order` is the value written for each region, in the order of the foreground names.
    """

    names: dict[str, tuple[int, ...]]
    region_order: tuple[int, ...] | None = None
    ignore: int | None = None
    paired: tuple[tuple[str, str], ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "LabelSpec":
        for pair in self.paired:
            for name in pair:
                if name not in self.names:
                    raise ValueError(f"paired label {name!r} is not declared; declared: {', '.join(self.names)}")
        return self

    @property
    def has_regions(self) -> bool:
        return self.region_order is not None

    @property
    def foreground(self) -> tuple[str, ...]:
        """Names of the foreground classes or regions, in declared order."""
        return tuple(name for name, values in self.names.items() if values != (0,))

    @property
    def heads(self) -> tuple[str, ...]:
        """Names of a network's output channels: the regions (sigmoid), or the labels with background (softmax)."""
        return self.foreground if self.has_regions else tuple(self.names)

    @property
    def n_heads(self) -> int:
        return len(self.heads)

    def twins(self, names: Sequence[str]) -> tuple[int, ...]:
        """For each of these names the position of the one that it looks like in a mirror: of its pair, or its own."""
        other = {name: twin for pair in self.paired for name, twin in (pair, pair[::-1])}
        return tuple(names.index(other.get(name, name)) for name in names)

    def means_the_same_as(self, other: "LabelSpec") -> bool:
        """Whether heads and label maps of one can be read as those of the other."""
        return (list(self.names.items()) == list(other.names.items()) and self.region_order == other.region_order
                and self.ignore == other.ignore)

    @property
    def values(self) -> tuple[int, ...]:
        """Every label value that a file may hold, background first, ignore last."""
        known = sorted({0} | {v for values in self.names.values() for v in values})
        return tuple(known) + (() if self.ignore is None else (self.ignore,))


class LabelStats(Frozen):
    """How much of one label there is, over all cases; sizes are of 26-connected components.

    `extent_mm` (z, y, x) is the box of a case's largest component, the median over the cases; None where no case has the
    label, and where an earlier version measured.
    """

    name: str
    cases: int
    voxels: int
    volume_ml: float
    components: int
    component_ml_percentiles: tuple[float, float, float, float, float]  # 5, 25, 50, 75, 95
    extent_mm: tuple[float, float, float] | None = None
