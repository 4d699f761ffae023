"""A volume of a series: its slices in order, its grid and its voxels."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from autoseg.base.errors import UserError, listed
from autoseg.formats.dicom.shear import Shear, straightened
from autoseg.formats.dicom.slices import Series, Slice
from autoseg.formats.dicom.split import UNEVEN, are_even, position_at, position_text
from autoseg.formats.dicom.suv import suv_factor
from autoseg.formats.dicom.voxels import read_voxels
from autoseg.formats.door import refuse_more_than_memory
from autoseg.grids.geometry import Geometry, triple

# How far in pixels a slice may lie beside the line through the others, and the last one beside the normal of the first.
_OFF_LINE = 0.05
_SHOWN = 4  # positions in a message
# What the values of a CT may be called that are HU, or may be: not specified, or changed, as without contrast agent.
_HU, _PERHAPS_HU = ("", "HU"), ("US", "HU_MOD")


@dataclass(frozen=True)
class Stack:
    """The slices of one volume, in the order of their positions.

    `phase` says what tells it from the other volumes of its series, `number` which of them it is (from 1). `remarks` are
    what is odd with it, though it can be read.
    """

    slices: tuple[Slice, ...]
    phase: str = ""
    number: int = 1
    remarks: tuple[str, ...] = ()

    @property
    def facts(self) -> Series:
        """What its series says of itself."""
        return self.slices[0].facts

    @property
    def name(self) -> str:
        return f"{self.facts.called}{f', {self.phase}' if self.phase else ''}"

    @property
    def other_quantity(self) -> str:
        """The RescaleType of a CT whose values are no HU, such as MGML (iodine) or Z_EFF of dual energy; else empty."""
        return next(iter(sorted(self._rescale_types.difference(_HU, _PERHAPS_HU))), "")

    @property
    def doubts(self) -> tuple[str, ...]:
        """A sentence where the header of a CT does not say that its values are HU."""
        return tuple(f"its RescaleType is {name}, which does not say that its values are HU; see whether they are"
                     for name in sorted(self._rescale_types.intersection(_PERHAPS_HU)))

    @property
    def _rescale_types(self) -> set[str]:
        return {part.stored.rescale_type for part in self.slices} if self.facts.modality == "CT" else set()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns, as stored."""
        return (len(self.slices), *self.slices[0].shape_HW)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Between slices (the median), rows and columns; 0 between slices where nothing says it."""
        steps = np.diff([part.along_mm for part in self.slices])
        step = float(np.median(steps)) if len(steps) else self.slices[0].thickness_mm or 0.0
        return (step, *self.slices[0].spacing_mm)

    @property
    def fault(self) -> str:
        """Why it cannot be read, as far as the headers say; empty where it can."""
        try:
            self.geometry()
        except UserError as error:
            return str(error)
        return ""

    @property
    def is_tilted(self) -> bool:
        """Whether its slices are shifted against each other, as after a tilt of the gantry; its grid is then another one."""
        return self._shear is not None

    def geometry(self) -> Geometry:
        """The grid of `read`: that of the slices, or of a tilted stack the straight grid around it.

        Raises UserError where slices are missing, overlap, lie on no straight line, or where a single slice has no
        thickness.
        """
        self._refuse_uneven()
        self._refuse_crooked()
        first, shear = self.slices[0], self._shear
        rows, columns, normal = (np.array(axis) for axis in (first.orientation[:3], first.orientation[3:], first.normal))
        n = len(self.slices)
        step = (self.slices[-1].along_mm - first.along_mm) / (n - 1) if n > 1 else self.spacing_mm[0]
        if step <= 0:
            raise UserError("the thickness of its only slice is not said", where=first.path, found=self.name)
        # As a NIfTI header holds it: last bits decide whether half a voxel is one when an image is resampled, and a scan is
        # brought to the same grid whichever way it comes.
        spacing = triple(float(np.float32(mm)) for mm in (step, *first.spacing_mm))
        direction = tuple(float(value) for value in np.stack([rows, columns, normal], axis=1).ravel())
        if shear is None:
            return Geometry(self.shape, spacing, first.position_mm, direction)
        y, x = (low * mm for low, mm in zip(shear.first_HW, first.spacing_mm, strict=True))
        origin = np.array(first.position_mm) + x * rows + y * columns
        return Geometry((n, *shear.shape_HW), spacing, triple(map(float, origin)), direction)

    def read(self) -> tuple[np.ndarray, Geometry]:
        """The values (1, z, y, x) and their grid.

        Values are those of the headers' slope and intercept, slice by slice: HU of CT; SUV by body weight of PET. They are
        whole numbers where the slopes are. A tilted stack is brought to a straight grid by linear interpolation within its
        slices; outside of them is its smallest value. Raises UserError as `geometry`, where PET cannot become SUV, and
        where a file is damaged or compressed in a way that no installed package reads.
        """
        geometry = self.geometry()
        refuse_more_than_memory(self.slices[0].path.parent, 4 * int(np.prod(geometry.shape)))
        factor = suv_factor(self.slices) if self.facts.modality == "PT" else 1.0
        array_DHW = read_voxels(self.slices, factor)
        if self._shear is not None:
            array_DHW = straightened(array_DHW, self._shear)
        return array_DHW[None], geometry

    @cached_property
    def _offsets_N2(self) -> np.ndarray:
        """How far each slice is shifted against the first within its plane, in pixels (y, x)."""
        first = self.slices[0]
        shifts = np.array([part.position_mm for part in self.slices]) - first.position_mm
        axes = np.stack([first.orientation[3:], first.orientation[:3]], axis=1)
        offsets: np.ndarray = shifts @ axes / first.spacing_mm
        return offsets

    @cached_property
    def _shear(self) -> Shear | None:
        offsets = self._offsets_N2
        if len(offsets) < 2 or np.abs(offsets[-1]).max() <= _OFF_LINE:
            return None
        y, x = offsets[-1] / (len(offsets) - 1)
        return Shear((float(y), float(x)), self.shape)

    def _refuse_crooked(self) -> None:
        """A UserError where a slice is shifted within its plane, against the line from the first to the last."""
        if len(self.slices) < 3:
            return
        offsets = self._offsets_N2
        beside = np.abs(offsets - np.linspace(0, 1, len(offsets))[:, None] * offsets[-1]).max(axis=1)
        at = int(beside.argmax())
        if beside[at] > 2 * _OFF_LINE:
            raise UserError("the slices of a series do not lie on a straight line", where=self.slices[at].path.parent,
                            found=f"{beside[at]:.2f} pixels beside it at (x, y, z) {position_text(self.slices[at])} mm, "
                                  f"{self.name}")

    def _refuse_uneven(self) -> None:
        """A UserError where slices are missing or overlap: their distances differ."""
        if are_even(self.slices):
            return
        steps = np.diff([part.along_mm for part in self.slices])
        usual = float(np.median(steps))
        missing = _gaps(self.slices, steps, usual)
        if missing:
            raise UserError("slices are missing: the others are not evenly apart", where=self.slices[0].path.parent,
                            found=f"none at (x, y, z) {listed(missing, _SHOWN)} mm; {len(self.slices)} slices, usually "
                                  f"{usual:.4g} mm apart, {self.name}",
                            do="see whether files are missing; download the series again")
        at = int(np.abs(steps - usual).argmax())
        raise UserError("the slices of a series are not evenly apart", where=self.slices[0].path.parent,
                        found=f"{steps[at]:.4g} mm before the one at (x, y, z) {position_text(self.slices[at + 1])} mm, "
                              f"usually {usual:.4g} mm, {self.name}",
                        do="see whether slices of two volumes are mixed, or resample the series to even distances")


def _gaps(slices: Sequence[Slice], steps: np.ndarray, usual: float) -> list[str]:
    """The positions of slices that are missing; none where the distances have another reason."""
    lacking = []
    for part, step in zip(slices, steps, strict=False):
        whole = round(step / usual)
        if abs(step - whole * usual) > max(2 * UNEVEN * usual, UNEVEN * step) or whole < 1:
            return []
        lacking += ["(" + ", ".join(f"{value:.2f}" for value in position_at(part, part.along_mm + n * usual)) + ")"
                    for n in range(1, whole)]
    return lacking
