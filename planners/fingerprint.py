"""What a dataset is, as data. Arrays never travel in it; axes are in array order (z, y, x)."""

from typing import Literal

from pydantic import model_validator

from planners.base import Frozen

SCHEMA_VERSION = 1

# How a channel is brought to the reference channel's grid. `none`: it must lie there already.
Registration = Literal["none", "regrid", "rigid", "affine", "deformable"]


class ChannelSpec(Frozen):
    """One image channel: its name as the dataset gives it, whether a case may lack it, and how it is brought to the grid
    of the channel that is the `reference`, on which the labels lie (none: the first that a case has).
    """

    name: str
    required: bool = True
    reference: bool = False
    registration: Registration = "none"

    @property
    def modality(self) -> str:
        """`ct`, `pet`, `mr`, `rgb`, `none`, `rescale01` or `other`, read from the first word of the name."""
        return modality_of(self.name)


class ConditionSpec(Frozen):
    """One input beside the images: a column of the clinical table, a vector or a bag of tokens a case.

    `width` is the number of features, None until the data were measured. Only what is available at `baseline` may
    condition a model. `order` ranks the values of an ordinal column; `folder` holds a file a case (vectors, tokens).
    """

    name: str
    kind: Literal["number", "category", "ordinal", "vector", "tokens"]
    width: int | None = None
    available_at: str = "baseline"
    transform: Literal["none", "log"] = "none"
    order: tuple[str, ...] = ()
    folder: str = ""


class ConditionTable(Frozen):
    """Inputs beside the images: a table with a row a case (`id` is the column of the case's name), files a case."""

    table: str = ""  # relative to the dataset's folder; empty: none
    id: str = "case"
    specs: tuple[ConditionSpec, ...] = ()


class ConditionStats(Frozen):
    """What the cases have of one condition. `mean` and `std` are of numbers (after the transform), else None."""

    name: str
    missing: float  # share of the cases
    distinct: int  # values, of columns; 0 for vectors and tokens
    mean: float | None = None
    std: float | None = None


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
    def n_heads(self) -> int:
        """Output channels of a network: one a region (sigmoid), or one a label with background (softmax)."""
        return len(self.foreground) if self.has_regions else len(self.names)

    def means_the_same_as(self, other: "LabelSpec") -> bool:
        """Whether heads and label maps of one can be read as those of the other."""
        return (list(self.names.items()) == list(other.names.items()) and self.region_order == other.region_order
                and self.ignore == other.ignore)

    @property
    def values(self) -> tuple[int, ...]:
        """Every label value that a file may hold, background first, ignore last."""
        known = sorted({0} | {v for values in self.names.values() for v in values})
        return tuple(known) + (() if self.ignore is None else (self.ignore,))


class CaseMeasure(Frozen):
    """Shape in voxels after cropping, and spacing, of one case; the share of the volume that the crop kept.

    `left_right_axis` is the array axis nearest to the patient's left-right axis.
    """

    case: str
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    relative_size: float = 1.0
    left_right_axis: int = 2


class IntensityStats(Frozen):
    """Statistics of one channel's foreground voxels over the dataset, in the image's own unit."""

    mean: float
    std: float
    min: float
    max: float
    median: float
    percentile_00_5: float
    percentile_99_5: float


class LabelStats(Frozen):
    """How much of one label there is, over all cases; sizes are of 26-connected components."""

    name: str
    cases: int
    voxels: int
    volume_ml: float
    components: int
    component_ml_percentiles: tuple[float, float, float, float, float]  # 5, 25, 50, 75, 95


class Fingerprint(Frozen):
    """All that planning needs to know of a dataset."""

    schema_version: int = SCHEMA_VERSION
    dataset: str
    channels: tuple[ChannelSpec, ...]
    labels: LabelSpec
    cases: tuple[CaseMeasure, ...]
    intensities: tuple[IntensityStats, ...] = ()  # one a channel; empty where only shapes are known
    presence: tuple[float, ...] = ()  # share of the cases that have the channel
    coverage: tuple[float, ...] = ()  # share of the reference grid that the channel covers, mean of the cases that have it
    conditions: ConditionTable = ConditionTable()
    condition_stats: tuple[ConditionStats, ...] = ()
    label_stats: tuple[LabelStats, ...] = ()
    digest: str = ""  # of the raw files that were measured


def modality_of(channel_name: str) -> str:
    """The modality that a channel's name says; separators and case do not matter.

    >>> [modality_of(n) for n in ("CT", "CT_arterial", "ct venous", "FDG-PET", "MR_T1", "noNorm", "R")]
    ['ct', 'ct', 'ct', 'pet', 'mr', 'none', 'other']
    """
    words = "".join(c if c.isalnum() else " " for c in channel_name.lower()).split()
    joined = "".join(words)
    if joined in ("nonorm", "none"):
        return "none"
    if joined in ("rescaleto01", "rescale01"):
        return "rescale01"
    if joined in ("rgbto01", "rgb"):
        return "rgb"
    for modality, aliases in _ALIASES.items():
        if any(word in aliases for word in words):
            return modality
    return "other"


_ALIASES = {
    "ct": {"ct", "cect", "ncct", "cta"},
    "pet": {"pet", "fdg", "suv"},
    "mr": {"mr", "mri", "t1", "t1w", "t2", "t2w", "flair", "adc", "dwi", "t1ce", "t1gd", "cinemri"},
}
