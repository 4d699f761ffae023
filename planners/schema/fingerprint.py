"""What a dataset is, as data. Arrays never travel in it; axes are in array order (z, y, x) of the common orientation."""

from pydantic import Field

from planners.schema.base import Frozen, Part, versioned
from planners.schema.ceiling import GridCeiling
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionStats, ConditionTable
from planners.schema.labels import LabelSpec, LabelStats

SCHEMA_VERSION = 1


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


class Fingerprint(Frozen):
    """All that planning needs to know of a dataset."""

    schema_version: int = versioned(SCHEMA_VERSION)
    dataset: str
    channels: tuple[ChannelSpec, ...]
    labels: LabelSpec
    cases: tuple[CaseMeasure, ...]
    intensities: tuple[IntensityStats, ...] = ()  # one per channel; empty where only shapes are known
    # One per channel, by the modality of the cases; empty of a channel that has one modality.
    intensities_of_modalities: tuple[dict[str, IntensityStats], ...] = ()
    modality_columns: dict[str, str] = Field(default_factory=dict)  # channel -> the column that says a case's modality
    presence: tuple[float, ...] = ()  # share of the cases that have the channel
    coverage: tuple[float, ...] = ()  # share of the reference grid that the channel covers, mean of the cases that have it
    conditions: ConditionTable = ConditionTable()
    condition_stats: tuple[ConditionStats, ...] = ()
    preprocess: Part = Part(name="none")  # what changes all channels of a case together, as the dataset declares it
    label_stats: tuple[LabelStats, ...] = ()
    ceilings: tuple[GridCeiling, ...] = ()  # the full resolution first; empty where they were not measured
    # Where the axes x, y, z of the images run to, such as RAS, and how many cases are stored otherwise (their measures are
    # turned to it). Empty: images are taken as they are stored.
    orientation: str = ""
    turned: int = 0
    digest: str = ""  # of the raw files that were measured
