"""What the inputs ask for: a normaliser a channel, how images are fused, whether the network is conditioned."""

from collections.abc import Sequence

import numpy as np

from planners.base import Frozen, Part
from planners.fingerprint import ChannelSpec, Fingerprint

MASKED_BELOW = 0.75  # share of the volume that the crop keeps, median over the cases
_NORMALIZER_OF = {"ct": "ct", "none": "none", "rescale01": "rescale01", "rgb": "rgb"}  # any other modality: z-score


class InputPlan(Frozen):
    """Decisions about the inputs, and why, in words."""

    normalizers: tuple[Part, ...]
    fusion: Part = Part(name="concat")
    conditioning: Part = Part(name="none")
    reasons: tuple[str, ...]


def input_plan(fingerprint: Fingerprint) -> InputPlan:
    """Normalisers by modality; channels are concatenated and nothing conditions the network."""
    kept = float(np.median([case.relative_size for case in fingerprint.cases])) if fingerprint.cases else 1.0
    normalizers = normalizers_for(fingerprint.channels, kept)
    reasons = [f"channel {channel.name!r} is {channel.modality}: normalised by {part.name}"
               for channel, part in zip(fingerprint.channels, normalizers, strict=True)]
    if any(part.name == "zscore_masked" for part in normalizers):
        reasons.append(f"statistics of the non-zero mask only: the crop keeps {kept:.0%} of the median volume")
    optional = [channel.name for channel in fingerprint.channels if not channel.required]
    if optional:
        reasons.append(f"channels are concatenated although cases may lack {', '.join(optional)}: absent voxels are "
                       "replaced, not read")
    elif len(fingerprint.channels) > 1:
        reasons.append("channels are concatenated: no case lacks one")
    reasons.append("patient data do not condition the network: images alone decide unless a plan says otherwise")
    return InputPlan(normalizers=normalizers, reasons=tuple(reasons))


def normalizers_for(channels: Sequence[ChannelSpec], kept_by_crop: float) -> tuple[Part, ...]:
    """One normaliser a channel.

    CT keeps its unit and is scaled by the dataset's statistics; `kept_by_crop` is the median share of the volume inside
    the non-zero crop: where it is small, z-scores are taken within the non-zero mask.
    """
    zscore = "zscore_masked" if kept_by_crop < MASKED_BELOW else "zscore"
    return tuple(Part(name=_NORMALIZER_OF.get(channel.modality, zscore)) for channel in channels)
