"""What the headers of a case's files say: which channels there are, on which grids, and what is wrong with them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from autoseg.base.errors import AutosegError, TooLarge, UserError
from autoseg.datasets.case import CaseFiles
from autoseg.formats import Header, ImageSource, known_ending, read_header
from autoseg.grids.geometry import Geometry, length
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

S = TypeVar("S")
T = TypeVar("T")


_NO_CHANNEL = -1


@dataclass(frozen=True)
class Place:
    """A readable image, the channel (the first, of several) that it fills, and what was declared of that channel."""

    source: ImageSource
    start: int
    n_channels: int
    geometry: Geometry
    spec: ChannelSpec | None  # None: a channel too many

    @property
    def path(self) -> Path:
        return self.source.path

    @property
    def called(self) -> str:
        if self.start == _NO_CHANNEL:
            return "the reference channel"
        return f"channel {self.start}" + (f" {self.spec.name!r}" if self.spec else "")

    @property
    def with_path(self) -> str:
        return f"{self.called} ({self.path})"

    @property
    def is_brought(self) -> bool:
        """Whether the channel may lie on a grid of its own, from which it is brought to the reference's."""
        return self.spec is not None and self.spec.is_moved


def check_headers(files: CaseFiles, channels: Sequence[ChannelSpec], labels: LabelSpec | None
                  ) -> tuple[dict[Path, Header], list[str]]:
    """The headers of a case's readable files, and what is wrong with files, channels and grids."""
    faults: list[str] = []
    paths = [*_present(files), *([files.label] if labels is not None and files.label is not None else []),
             *([] if files.grid is None else [files.grid])]
    headers = {path: header for path in paths if (header := attempt(read_header, files.source(path), faults)) is not None}
    if labels is not None and files.label is None:
        faults.append(str(UserError("the case has no label", where=f"case {files.name}")))
    if len(headers) == len(paths):
        faults += _channel_faults(files, headers, channels)
    return headers, faults + _grid_faults(files, headers, channels)


def attempt(read: Callable[[S], T], source: S, faults: list[str]) -> T | None:
    """What `read` gives of `source`, or None and its faults among the others. A lack of memory is raised: it may pass."""
    try:
        return read(source)
    except TooLarge:
        raise
    except AutosegError as error:
        faults += getattr(error, "faults", (str(error),))
        return None


def places(files: CaseFiles, headers: dict[Path, Header], channels: Sequence[ChannelSpec]) -> list[Place]:
    """The readable images of a case. A file fills its suffix's channel, or the next where files hold several channels."""
    present = _present(files)
    counts = [headers[path].n_channels if path in headers else 1 for path in present]
    if set(counts) == {1}:
        starts = [k for k, path in enumerate(files.images) if path is not None]
    else:
        starts = np.cumsum([0, *counts])[:-1].tolist()
    return [Place(files.source(path), start, headers[path].n_channels, headers[path].geometry,
                  channels[start] if start < len(channels) else None)
            for path, start in zip(present, starts, strict=True) if path in headers]


def reference_of(placed: Sequence[Place], channels: Sequence[ChannelSpec]) -> Place | None:
    """The file of the reference channel, or, where none is declared, the first; None where it is not among the `placed`."""
    declared = [k for k, channel in enumerate(channels) if channel.reference]
    fits = [place for place in placed if not declared or place.start <= declared[0] < place.start + place.n_channels]
    return fits[0] if fits else None


def grid_of(files: CaseFiles, headers: dict[Path, Header], channels: Sequence[ChannelSpec]) -> Place | None:
    """The file on whose grid a case is read: that of the reference channel, also where the channel itself is left out."""
    if files.grid is None:
        return reference_of(places(files, headers, channels), channels)
    if files.grid not in headers:
        return None
    header = headers[files.grid]
    return Place(files.source(files.grid), _NO_CHANNEL, header.n_channels, header.geometry, None)


def case_warnings(files: CaseFiles, channels: Sequence[ChannelSpec]) -> list[str]:
    """As `header_warnings`, of a case whose files can all be read."""
    paths = [*_present(files), *(path for path in (files.label, files.grid) if path is not None)]
    return header_warnings(files, {path: read_header(files.source(path)) for path in paths}, channels)


def header_warnings(files: CaseFiles, headers: dict[Path, Header], channels: Sequence[ChannelSpec]) -> list[str]:
    """What the headers of a case contradict, and files that are taken voxel for voxel with an image that lies elsewhere."""
    warnings = [warning for header in headers.values() for warning in header.warnings]
    placed, reference = places(files, headers, channels), grid_of(files, headers, channels)
    if reference is None:
        return warnings
    fixed = {place.path: place.geometry for place in placed if not place.is_brought}
    if files.label is not None and files.label in headers:
        fixed[files.label] = headers[files.label].geometry
    return warnings + [f"{path}: lies {length(geometry.farthest_mm(reference.geometry))} from {reference.with_path} by its "
                       "header, but where another program reads the header of one of them: they are taken voxel for voxel"
                       for path, geometry in fixed.items()
                       if not geometry.is_at(reference.geometry) and not geometry.difference(reference.geometry)]


def _present(files: CaseFiles) -> list[Path]:
    return [path for path in files.images if path is not None]


def _channel_faults(files: CaseFiles, headers: dict[Path, Header], channels: Sequence[ChannelSpec]) -> list[str]:
    where = f"case {files.name}"
    present = _present(files)
    counts = [headers[path].n_channels for path in present]
    names = ", ".join(channel.name for channel in channels)
    if not present:
        return [str(UserError("the case has no image", where=where, expected=f"channels {names}"))]
    if len(files.images) > len(channels) or (set(counts) != {1} and sum(counts) != len(channels)):
        by_file = "; ".join(f"{n} in {path.name}" for path, n in zip(present, counts, strict=True))
        return [str(UserError("the number of channels is wrong", where=where, found=f"{sum(counts)} ({by_file})",
                              expected=f"{len(channels)} ({names})",
                              do="give one file per channel: CASE_0000, CASE_0001, ...; where the last four digits are the "
                              "patient's, add the channel's: CASE_0001_0000"))]
    if set(counts) != {1}:
        return []
    ending = known_ending(present[0].name) or present[0].suffix
    return [_missing(files.name, files.number_of(k), channel,
                     present[0].with_name(f"{files.name}_{files.number_of(k):04d}{ending}"))
            for k, (path, channel) in enumerate(zip(files.images, channels, strict=True))
            if path is None and (channel.required or channel.reference)]


def _missing(case: str, k: int, channel: ChannelSpec, expected: Path) -> str:
    if channel.reference:
        return str(UserError(f"channel {k} {channel.name!r} is missing, on whose grid the case is read",
                             where=f"case {case}", expected=expected, do="add the file: the reference_channel of "
                             "dataset.json cannot be optional"))
    return str(UserError(f"channel {k} {channel.name!r} is missing", where=f"case {case}", expected=expected,
                         do="add the file, or name the channel under optional_channels in dataset.json"))


def _grid_faults(files: CaseFiles, headers: dict[Path, Header], channels: Sequence[ChannelSpec]) -> list[str]:
    """Files whose grid is not that of the reference, though it has to be."""
    reference = grid_of(files, headers, channels)
    if reference is None:
        return []
    faults = []
    for place in places(files, headers, channels):
        if place.is_brought and place.geometry.dimensions != reference.geometry.dimensions:
            faults.append(_dimension_fault(place, reference))
        elif not place.is_brought and place.geometry.difference(reference.geometry):
            other = ('give it the registration "regrid" in dataset.json' if any(channel.reference for channel in channels)
                     else 'name a "reference_channel" in dataset.json, so that it is regridded')
            faults.append(_grid_fault(place.called, place.path, place.geometry, reference, f"{other}, or "))
    label = files.label
    if label is not None and label in headers and headers[label].geometry.difference(reference.geometry):
        faults.append(_grid_fault("the label", label, headers[label].geometry, reference))
    return faults


def _dimension_fault(place: Place, reference: Place) -> str:
    return str(UserError(f"{place.called} and {reference.called} are not both flat or both solid", where=place.path,
                         found=f"{place.geometry.dimensions}D", expected=f"{reference.geometry.dimensions}D"))


def _grid_fault(name: str, path: Path, geometry: Geometry, reference: Place, otherwise: str = "") -> str:
    drawn = ""
    if geometry.shape == reference.geometry.shape:
        drawn = "give it the header of that image if it was made on its very voxels, or "
    return str(UserError(f"the grid of {name} differs from that of {reference.called}", where=path,
                         found=geometry.describe(), expected=reference.geometry.describe(),
                         do=f"{otherwise}{drawn}resample it to the grid of {reference.called}"))
