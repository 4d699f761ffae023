"""The slices of a series by volume: phases, echoes or orientations that are stacked in one series are parted.

Slices are put in order by their position in the patient, never by the names of files or their numbers. Volumes are parted
where slices lie at the same place, or between each other, and a mark of the headers says which belong together.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from autoseg.base.errors import UserError
from autoseg.formats.dicom.elements import seconds_of_day
from autoseg.formats.dicom.slices import Slice
from autoseg.grids.geometry import triple

# Of the distance between slices, and in mm: headers round positions.
UNEVEN, _UNEVEN_MM = 0.02, 0.02
_SAME_PLACE_MM = 0.01
_SAME_SPACING = 1e-3  # of the pixel spacing
_SAME_DIRECTION = 2e-3  # of each cosine; 0.1 degrees
_FEWEST = 4  # slices of one orientation among others; localisers have fewer
_MARKS = ("acquisition", "temporal position", "echo", "b-value", "image type", "trigger time", "acquisition time",
          "content time")
_TIMES = ("trigger time", "acquisition time", "content time")  # they may differ within a phase
_CLOCKS = ("acquisition time", "content time")  # without a date they begin again at midnight
_DAY_S = 86400.0
_PHASES = ("temporal position", "echo", "b-value")  # what they say is no way to take one volume
_THICK = 1.5  # of the distance between slices
# Of the places of all phases, how many each must have, where it is not even by itself.
_COVERED = 0.5


@dataclass(frozen=True)
class Part:
    """The slices of one volume in the order of their positions; `phase` says what tells it from the others of its series."""

    slices: tuple[Slice, ...]
    phase: str = ""
    remarks: tuple[str, ...] = ()


class NoVolume(UserError):
    """Slices that are not parallel, as of a localiser."""


def parts_of_series(slices: Sequence[Slice]) -> list[Part]:
    """The volumes of a series, phases in the order of their marks.

    Raises NoVolume where slices are not parallel, as in a localiser; UserError where some lie at the same place and nothing
    says how they belong together.
    """
    kept, remarks = _without_copies(slices)
    planes = _by_plane(kept)
    large = [plane for plane in planes if len(plane) >= _FEWEST]
    if len(planes) > 1 and not large:
        raise NoVolume("the slices of a series are not parallel", where=kept[0].path.parent,
                        found=f"{len(kept)} slices of {kept[0].facts.called}", do="leave out localisers: they are no volume")
    if len(planes) > 1:
        lost = len(kept) - sum(map(len, large))
        remarks += [f"{lost} slices of another orientation or size are left out"] * bool(lost)
    parts = []
    for number, plane in enumerate(large or planes):
        label = f"orientation {number + 1}" if len(large) > 1 else ""
        for phase, group in _phases(_along_one_normal(plane)):
            ordered = tuple(sorted(group, key=lambda part: part.along_mm))
            parts.append(Part(ordered, ", ".join(filter(None, (label, phase))), tuple(remarks)))
    return parts


def _without_copies(slices: Sequence[Slice]) -> tuple[list[Slice], list[str]]:
    """Each slice once: a folder may hold the same object twice. A UID alone does not say it: some programs give all slices
    the same.
    """
    seen: dict[tuple[object, ...], Slice] = {}
    for part in slices:
        seen.setdefault((part.uid or str(part.path), part.frame, part.position_mm, part.orientation, part.marks), part)
    copies = len(slices) - len(seen)
    return list(seen.values()), [f"{copies} slices are there twice and taken once"] * bool(copies)


def _by_plane(slices: Sequence[Slice]) -> list[list[Slice]]:
    """The slices by orientation, size and pixel spacing."""
    planes: list[list[Slice]] = []
    for part in slices:
        for plane in planes:
            if _is_in_plane(part, plane[0]):
                plane.append(part)
                break
        else:
            planes.append([part])
    return planes


def _is_in_plane(part: Slice, first: Slice) -> bool:
    """Whether two slices are parallel, turned alike and of one size."""
    return (part.shape_HW == first.shape_HW
            and all(abs(a - b) <= _SAME_SPACING * b for a, b in zip(part.spacing_mm, first.spacing_mm, strict=True))
            and all(abs(a - b) <= _SAME_DIRECTION for a, b in zip(part.orientation, first.orientation, strict=True)))


def _along_one_normal(slices: Sequence[Slice]) -> list[Slice]:
    """The slices with one normal for all, since a rounded one moves far positions."""
    normal = slices[0].normal
    along = np.array([part.position_mm for part in slices]) @ normal
    return [replace(part, normal=normal, along_mm=float(mm)) for part, mm in zip(slices, along, strict=True)]


def _phases(slices: list[Slice]) -> list[tuple[str, list[Slice]]]:
    if are_apart(slices):
        return _interleaved(slices) or [("", slices)]
    parts = _split(slices, _MARKS, ())
    if parts is None:
        at = _doubled(slices)
        raise UserError("several slices of one acquisition lie at the same place", where=slices[0].path.parent,
                        found=f"{at.path.name} and another one at (x, y, z) {position_text(at)} mm, {at.facts.called}",
                        do="part the phases of this series into folders of their own, or remove what is there twice")
    return parts


def _interleaved(slices: list[Slice]) -> list[tuple[str, list[Slice]]]:
    """Phases that lie between each other: each is even, all together are not. None: they are one volume. A number of
    acquisition alone tells no volumes: some scanners count every slice.
    """
    for name in _sure_marks(slices) if are_even(slices) else _MARKS:
        groups = _grouped(slices, name)
        if len(groups) > 1 and all(len(group) > 1 and are_even(group) for group in groups.values()) and _overlap(groups):
            return [(f"{name} {value or 'not said'}", group) for value, group in _in_order(groups, name)]
    return []


def _sure_marks(slices: Sequence[Slice]) -> Sequence[str]:
    """Marks that part slices even where all together are evenly apart, as of phases shifted by half a distance: the
    acquisition only where slices are far thicker than their distance.
    """
    step, thickness = _usual_step(slices), slices[0].thickness_mm or 0.0
    return (*_PHASES, "acquisition") if thickness > _THICK * step else _PHASES


def _overlap(groups: dict[str, list[Slice]]) -> bool:
    """Whether groups lie between each other, and not one after the other."""
    sides = [(min(part.along_mm for part in group), max(part.along_mm for part in group)) for group in groups.values()]
    return max(low for low, _ in sides) < min(high for _, high in sides)


def _split(slices: list[Slice], names: Sequence[str], said: tuple[str, ...]) -> list[tuple[str, list[Slice]]] | None:
    """Phases by the first marks that tell them apart; None where none do."""
    if are_apart(slices):
        return [(", ".join(said), slices)]
    n_places = len(set(places(slices)))
    for number, name in enumerate(names):
        groups = _grouped(slices, name)
        covers = all(len(set(places(group))) >= _COVERED * n_places for group in groups.values())
        if len(groups) < 2 or not (covers or all(map(_is_whole, groups.values()))):
            continue
        parts = [_split(group, names[number + 1:], (*said, f"{name} {value or 'not said'}"))
                 for value, group in _in_order(groups, name)]
        whole = [phase for part in parts if part is not None for phase in part]
        if all(part is not None for part in parts):
            return whole
    return _by_rank(slices, said)


def _is_whole(slices: Sequence[Slice]) -> bool:
    """Whether slices are a volume by themselves, as of a phase that covers one organ alone."""
    return len(slices) >= _FEWEST and are_apart(slices) and are_even(slices)


def _by_rank(slices: list[Slice], said: tuple[str, ...]) -> list[tuple[str, list[Slice]]] | None:
    """Phases by the order of their times at each place, as of slices that are taken one after the other. A phase ends before
    the next begins, but for times after a trigger.
    """
    for name in _TIMES:
        columns = defaultdict(list)
        for place, part in zip(places(slices), slices, strict=True):
            columns[place].append(part)
        n_phases = len(columns[0])
        said_NP = [[part.mark(name) for part in column] for column in columns.values()]
        if any(len(column) != n_phases or len(set(column)) != n_phases for column in said_NP):
            continue
        rank = _ranks(name, [part.mark(name) for part in slices], slices)
        times = [sorted(rank[value] for value in column) for column in said_NP]
        phases = [list(phase) for phase in zip(*(sorted(column, key=lambda part: rank[part.mark(name)])
                                                 for column in columns.values()), strict=True)]
        ends = [max(column[k] for column in times) for k in range(n_phases)]
        begins = [min(column[k] for column in times) for k in range(n_phases)]
        if name == "trigger time" or all(ends[k] < begins[k + 1] for k in range(n_phases - 1)):
            return [(", ".join((*said, f"phase {k + 1} by {name}")), phase) for k, phase in enumerate(phases)]
    return None


def are_apart(slices: Sequence[Slice]) -> bool:
    """Whether no two slices lie at the same place."""
    return len(set(places(slices))) == len(slices)


def are_even(slices: Sequence[Slice]) -> bool:
    """Whether the distances between slices are all the same, within what headers round."""
    steps = np.diff(sorted(part.along_mm for part in slices))
    if not len(steps):
        return True
    usual = _usual_step(slices)
    return bool(np.abs(steps - usual).max() <= max(UNEVEN * usual, min(_UNEVEN_MM, 0.1 * usual)))


def _usual_step(slices: Sequence[Slice]) -> float:
    """The median distance between slices [mm]; 0 of a single one."""
    steps = np.diff(sorted(part.along_mm for part in slices))
    return float(np.median(steps)) if len(steps) else 0.0


def places(slices: Sequence[Slice]) -> list[int]:
    """The number of the place of each slice, from 0 along the normal; several may have one."""
    along = np.array([part.along_mm for part in slices])
    order = np.argsort(along, kind="stable")
    numbers = np.zeros(len(slices), int)
    numbers[order[1:]] = np.cumsum(np.diff(along[order]) > _SAME_PLACE_MM)
    return [int(number) for number in numbers]


def position_text(part: Slice) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in part.position_mm) + ")"


def position_at(part: Slice, along_mm: float) -> tuple[float, float, float]:
    """Where the first pixel of a slice would be that lies at another distance along the normal."""
    return triple(float(value) for value in np.array(part.position_mm) + (along_mm - part.along_mm) * np.array(part.normal))


def _doubled(slices: Sequence[Slice]) -> Slice:
    """The first slice that lies where another one does."""
    seen: set[int] = set()
    for place, part in sorted(zip(places(slices), slices, strict=True), key=lambda pair: pair[0]):
        if place in seen:
            return part
        seen.add(place)
    return slices[0]


def _grouped(slices: Sequence[Slice], name: str) -> dict[str, list[Slice]]:
    groups: dict[str, list[Slice]] = defaultdict(list)
    for part in slices:
        groups[part.mark(name)].append(part)
    return groups


def _in_order(groups: dict[str, list[Slice]], name: str) -> list[tuple[str, list[Slice]]]:
    rank = _ranks(name, list(groups), [part for group in groups.values() for part in group])
    return sorted(groups.items(), key=lambda pair: rank[pair[0]])


def _ranks(name: str, values: Sequence[str], slices: Sequence[Slice]) -> dict[str, tuple[float, str]]:
    """What the values of a mark are sorted by. Times of day without a date may pass midnight: they begin after the longest
    gap between them, the night. Raises UserError where no gap is half a day: then nothing says which is the first.
    """
    clock = {value: seconds_of_day(value) for value in values} if name in _CLOCKS else {}
    times = sorted({seconds for seconds in clock.values() if seconds is not None})
    if not times or None in clock.values():
        return {value: _sorting(value) for value in values}
    gaps = [after - before for before, after in zip([times[-1] - _DAY_S, *times], times, strict=False)]  # before each time
    if max(gaps) < _DAY_S / 2:
        raise UserError("the order of phases is not clear: their times have no date and spread over the whole day",
                        where=slices[0].path.parent, found=f"{name} {min(clock)} to {max(clock)}, {slices[0].facts.called}",
                        expected="times within twelve hours, or dates",
                        do="part the phases of this series into folders of their own")
    begin = times[gaps.index(max(gaps))]
    return {value: ((seconds - begin) % _DAY_S, value) for value, seconds in clock.items() if seconds is not None}


def _sorting(value: str) -> tuple[float, str]:
    try:
        return float(value), value
    except ValueError:
        return float("inf"), value
