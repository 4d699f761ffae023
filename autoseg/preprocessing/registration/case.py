"""The channels of a case, each registered to the reference as `dataset.json` asks."""

from collections.abc import Sequence

from autoseg.base.errors import raise_faults
from autoseg.datasets.case import CaseFiles
from autoseg.datasets.headers import check_headers, places, reference_of
from autoseg.datasets.raw import checked_image
from autoseg.grids.transform import Registered
from autoseg.preprocessing.registration.channel import register_channel
from planners.schema.channels import ChannelSpec

# What SimpleITK optimises; a channel with any other registration is brought to the grid as its header says.


def register_case(files: CaseFiles, channels: Sequence[ChannelSpec], seed: int = 0) -> dict[int, Registered]:
    """What registration finds for each present channel that asks for one, by the channel's number.

    Channels stay on their own grids. Raises UserError or ManyFaults where a file is not what it should be.
    """
    headers, faults = check_headers(files, channels, None)
    raise_faults(f"case {files.name}", faults)
    placed = places(files, headers, channels)
    reference = reference_of(placed, channels)
    moved = [(place, place.spec.registration) for place in placed
             if place.spec is not None and place.spec.is_registered]
    if not moved or reference is None:
        return {}
    fixed_DHW = checked_image(reference.source)[0]
    return {place.start: register_channel(fixed_DHW, reference.geometry, checked_image(place.source)[0], place.geometry,
                                          kind=kind, seed=seed) for place, kind in moved}
