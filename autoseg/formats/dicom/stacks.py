"""Series of DICOM slices as volumes, as far as recipes of public datasets need it: SimpleITK (GDCM) reads the slices.

Slices are put in order by their position in the patient, never by their names. Two phases that lie in one series are parted
by the acquisition number, whether their slices lie at the same places or between each other.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.door import reading
from autoseg.grids.geometry import Geometry, triple

# Of the distance between slices: headers round positions.
_UNEVEN = 0.02
_PARALLEL = 0.999  # cosine of the angle between normals, about 2.5 degrees
_TAGS = {"uid": "0008|0018", "series": "0020|000e", "acquisition": "0020|0012", "position": "0020|0032",
         "orientation": "0020|0037"}


@dataclass(frozen=True)
class Slice:
    """One file of a series: who it is, and where it lies (mm along the normal of the series, and from its first slice)."""

    path: Path
    uid: str
    series: str
    acquisition: str
    position_mm: tuple[float, float, float]
    normal: tuple[float, float, float]
    along_mm: float


@dataclass(frozen=True)
class Stack:
    """The slices of one volume, in the order of their positions."""

    slices: tuple[Slice, ...]

    @property
    def name(self) -> str:
        first = self.slices[0]
        return f"series {first.series}, acquisition {first.acquisition or 'without number'}"

    def read(self) -> tuple[np.ndarray, Geometry]:
        """The voxels (1, z, y, x) with the header's slope and intercept applied, and their grid."""
        import SimpleITK as sitk

        where = self.slices[0].path.parent
        _refuse_uneven(self, where)
        with reading(where):
            reader = sitk.ImageSeriesReader()
            reader.SetFileNames([str(part.path) for part in self.slices])
            image = reader.Execute()
            array_DHW = sitk.GetArrayFromImage(image)
            geometry = Geometry(triple(array_DHW.shape), triple(image.GetSpacing()[::-1]), triple(image.GetOrigin()),
                                tuple(image.GetDirection()))
        return array_DHW[None], geometry


def series_of_file(path: Path) -> str:
    """The series (SeriesInstanceUID) that a file belongs to; a UserError where it is no DICOM."""
    return _read_slice(path).series


def find_stacks(paths: Iterable[Path]) -> list[Stack]:
    """The volumes that some files hold: one per series; one per acquisition of a series that has several slices at a place,
    or whose slices are evenly apart within each acquisition alone.

    Raises UserError where a file is no slice, where slices of one acquisition lie at the same place, and where those of a
    series are not parallel, as in a localiser.
    """
    series: dict[str, list[Slice]] = defaultdict(list)
    for path in paths:
        part = _read_slice(path)
        series[part.series].append(part)
    stacks = []
    for slices in series.values():
        if any(np.dot(part.normal, slices[0].normal) < _PARALLEL for part in slices):
            raise UserError("the slices of a series are not parallel", where=slices[0].path.parent,
                            found=f"{len(slices)} slices of series {slices[0].series}",
                            do="leave out localisers: they are no volume")
        for group in _volumes(slices):
            if not _are_apart(group):
                raise UserError("several slices of one acquisition lie at the same place", where=group[0].path.parent,
                                found=f"acquisition {group[0].acquisition or 'without number'}, {len(group)} slices",
                                do="part the phases of this series into folders of their own")
            stacks.append(Stack(tuple(sorted(group, key=lambda part: part.along_mm))))
    return stacks


def _volumes(slices: Sequence[Slice]) -> list[list[Slice]]:
    """The slices of a series by volume. A number of acquisition alone tells no volumes: some scanners count every slice."""
    parts = list(_by_acquisition(slices).values())
    is_one = _are_apart(slices) and (_are_even(slices) or not all(len(part) > 1 and _are_even(part) for part in parts))
    return [list(slices)] if is_one else parts


def _by_acquisition(slices: Sequence[Slice]) -> dict[str, list[Slice]]:
    groups: dict[str, list[Slice]] = defaultdict(list)
    for part in slices:
        groups[part.acquisition].append(part)
    return groups


def _are_apart(slices: Sequence[Slice]) -> bool:
    return len({round(part.along_mm, 3) for part in slices}) == len(slices)


def _are_even(slices: Sequence[Slice]) -> bool:
    steps = np.diff(sorted(part.along_mm for part in slices))
    return not len(steps) or bool(np.ptp(steps) <= _UNEVEN * np.median(steps))


def _read_slice(path: Path) -> Slice:
    import SimpleITK as sitk

    with reading(path):
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(path))
        reader.ReadImageInformation()
        said = {name: reader.GetMetaData(tag).strip() if reader.HasMetaDataKey(tag) else "" for name, tag in _TAGS.items()}
    position, orientation = _numbers(said["position"], 3), _numbers(said["orientation"], 6)
    if position is None or orientation is None:
        raise UserError("the file is no slice with a position in the patient", where=path,
                        found=f"position {said['position'] or 'missing'}, orientation {said['orientation'] or 'missing'}")
    normal = np.cross(orientation[:3], orientation[3:])
    return Slice(path, said["uid"], said["series"], said["acquisition"], triple(map(float, position)),
                 triple(map(float, normal)), float(normal @ position))


def _numbers(text: str, n: int) -> np.ndarray | None:
    try:
        values = np.array([float(value) for value in text.split("\\")])
    except ValueError:
        return None
    return values if len(values) == n and np.isfinite(values).all() else None


def _refuse_uneven(stack: Stack, where: Path) -> None:
    """A UserError where slices are missing: their distances differ."""
    if not _are_even(stack.slices):
        steps = np.diff([part.along_mm for part in stack.slices])
        at = int(np.abs(steps - np.median(steps)).argmax())
        raise UserError("the slices of a series are not evenly apart", where=where,
                        found=f"{steps[at]:.4g} mm before {stack.slices[at + 1].path.name}, usually "
                              f"{np.median(steps):.4g} mm",
                        do="see whether files are missing; download the series again")
