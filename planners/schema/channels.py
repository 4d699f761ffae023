"""The channels of a dataset's images."""

from typing import Literal

from planners.schema.base import Frozen

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
    def is_registered(self) -> bool:
        """Whether a transform to the reference channel is estimated from the images."""
        return self.registration not in ("none", "regrid")

    @property
    def is_regridded(self) -> bool:
        """Whether it is brought to the reference channel's grid as its header says, without a transform."""
        return self.registration == "regrid"

    @property
    def is_moved(self) -> bool:
        """Whether it is brought to the reference channel's grid at all; else it must lie there already."""
        return self.registration != "none"

    @property
    def modality(self) -> str:
        """`ct`, `pet`, `mr`, `rgb`, `none`, `rescale01` or `other`, read from the first word of the name."""
        return modality_of(self.name)


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


# What a cell of a table may say in place of the aliases below: the code of DICOM, and that it is none of these.
_ALSO_IN_CELLS = {"ct": set[str](), "pet": {"pt"}, "mr": set[str](), "other": {"other"}}
MODALITY_WORDS = "CT, MR, PET, or other (any other: z-score per case)"


def modality_of_cell(text: str) -> str:
    """The modality that a cell of a table says; empty where it says none that is known, or two.

    >>> [modality_of_cell(text) for text in ("CT", "mri", "PT", "T1w, 3 T", "other", "US", "PET/CT")]
    ['ct', 'mr', 'pet', 'mr', 'other', '', '']
    """
    words = set("".join(c if c.isalnum() else " " for c in text.lower()).split())
    modalities = [modality for modality, also in _ALSO_IN_CELLS.items() if words & (_ALIASES.get(modality, set()) | also)]
    return modalities[0] if len(modalities) == 1 else ""


_ALIASES = {
    "ct": {"ct", "cect", "ncct", "cta"},
    "pet": {"pet", "fdg", "suv"},
    "mr": {"mr", "mri", "t1", "t1w", "t2", "t2w", "flair", "adc", "dwi", "t1ce", "t1gd", "cinemri"},
}
