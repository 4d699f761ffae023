"""One patient: as read from the disk, and as prepared for a network."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from autoseg.base.errors import UserError
from autoseg.clinical.conditions import CaseConditions
from autoseg.formats.results import DicomResults
from autoseg.formats.source import FileWriter, ImageSource, ResultWriter, no_series, open_source
from autoseg.grids.geometry import Axes, Geometry
from planners.schema.base import Frozen
from planners.schema.names import fault_of_name


class SlicedArray(Protocol):
    """An array in memory, or on the disk, where only what is sliced is read. `array[:]` is all of it as a NumPy array."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def ndim(self) -> int: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case: one path per channel (None where the channel is missing), its label, and the modality of the
    case in each channel that has several.
    """

    name: str
    images: tuple[Path | None, ...]
    label: Path | None = None
    modalities: tuple[str, ...] = ()  # one per channel, empty of a channel that has one modality; (): of all channels
    numbers: tuple[int, ...] = ()  # of the channels in the dataset, where `images` are not of all of them
    grid: Path | None = None  # the image on whose grid the case lies, where it is none of `images`; only its header is read
    sources: tuple[ImageSource, ...] = ()  # of those of `images` that are no files, such as volumes of DICOM

    def __post_init__(self) -> None:
        fault = fault_of_name(self.name)
        if fault:
            raise UserError("the case cannot have this name", where=f"case {self.name[:80]!r}", found=fault,
                            do="rename its files, or correct its name in dataset.json")

    def of_channels(self, numbers: Sequence[int], grid_number: int | None = None) -> "CaseFiles":
        """The same case with the files of these channels alone, on the grid of another one where the case has that; of no
        number that it does not know.
        """
        known = [number for number in numbers if number < len(self.images)]
        grid = self.images[grid_number] if grid_number is not None and grid_number < len(self.images) else None
        return replace(self, images=tuple(self.images[number] for number in known), numbers=tuple(known), grid=grid,
                       modalities=tuple(self.modalities[number] for number in known) if self.modalities else ())

    def source(self, image: Path) -> ImageSource:
        """How one of the images, or the label, is read."""
        return next((source for source in self.sources if source.path == image), None) or open_source(image)

    def number_of(self, channel: int) -> int:
        """The number in the dataset of one of the channels that `images` has."""
        return self.numbers[channel] if self.numbers else channel


class RawFile(Frozen):
    """A raw file as it was when a case was prepared: of a channel by its number, or of the label (None).

    Size and times tell in a moment that a file is the same; where they differ its digest decides.
    """

    channel: int | None
    name: str
    size: int
    mtime_ns: int
    ctime_ns: int
    digest: str

    @property
    def kind(self) -> str:
        return "label" if self.channel is None else "image"


@dataclass(frozen=True)
class Case:
    """A case as read: channels on one grid, in array order (z, y, x)."""

    name: str
    image_CDHW: np.ndarray  # float32
    present_C: np.ndarray  # bool: False where the case lacks the channel (its voxels are then never read)
    geometry: Geometry
    label_DHW: np.ndarray | None = None  # int16
    absent_CDHW: np.ndarray | None = None  # bool: True outside a present channel's field of view; None: nowhere
    conditions: CaseConditions = field(default_factory=CaseConditions)
    modalities: tuple[str, ...] = ()  # as of `CaseFiles`
    source: ImageSource | None = None  # of the channel whose grid the case has; None: it was made in memory

    def of_channels(self, places: Sequence[int]) -> "Case":
        """The same case with the channels at these places of `image_CDHW` alone."""
        if list(places) == list(range(len(self.present_C))):
            return self
        chosen = list(places)
        return replace(self, image_CDHW=self.image_CDHW[chosen], present_C=self.present_C[chosen],
                       absent_CDHW=None if self.absent_CDHW is None else self.absent_CDHW[chosen],
                       modalities=tuple(self.modalities[place] for place in chosen) if self.modalities else ())

    @property
    def results(self) -> ResultWriter:
        """How results are written on the grid of this case, as files."""
        return FileWriter(self.geometry) if self.source is None else self.source.writer(self.geometry)

    def results_in_dicom(self, dicom: DicomResults) -> ResultWriter:
        """How results are written as objects of DICOM. Raises UserError where the case is no series of DICOM."""
        if self.source is None:
            raise no_series(f"case {self.name}", dicom.kind)
        return self.source.writer(self.geometry, dicom)


@dataclass(frozen=True)
class PreparedCase:
    """A case as a network sees it: its axes in the order of the plan, cropped, normalised, resampled.

    Images and labels may be arrays on the disk: slice them before you compute with them. `box` is the crop in the
    grid of the file, `transpose`d and then `flipped`, one (start, stop) per axis; `cropped_shape` is its size before
    resampling. `foreground` maps a class name to sampled voxel indices (N, 3) of `label_DHW`; `lesions` maps it to the
    number of the 26-connected component that each of these voxels belongs to (N,).
    """

    name: str
    image_CDHW: SlicedArray  # float32
    present_C: np.ndarray
    geometry: Geometry  # of the file
    transpose: tuple[int, int, int]
    box: tuple[tuple[int, int], ...]
    cropped_shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]  # of image_CDHW, transposed order
    label_DHW: SlicedArray | None = None  # int16; the ignore label keeps its value
    previous_DHW: SlicedArray | None = None  # int16, a cascade's earlier prediction on this grid
    absent_CDHW: SlicedArray | None = None  # bool: True outside a present channel's field of view; None: nowhere
    foreground: dict[str, np.ndarray] = field(default_factory=dict)
    lesions: dict[str, np.ndarray] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)
    raw_files: tuple[RawFile, ...] = ()  # what it was made from; empty: not known
    flipped: tuple[bool, bool, bool] = (False, False, False)

    @property
    def axes(self) -> Axes:
        """How the axes of the file became those of this case."""
        return Axes(self.transpose, self.flipped)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the prepared grid, in voxels."""
        _, depth, height, width = self.image_CDHW.shape
        return depth, height, width
