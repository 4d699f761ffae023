"""Preprocessors: what changes all channels of a case together, before it is cropped and each channel is normalised.

`dataset.json` names one under `preprocess`. A preprocessor is made by `factory(options, PreprocessorContext)`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from autoseg.base.errors import UserError
from autoseg.base.parts import check_part
from autoseg.datasets.stain import StainOptions, macenko
from planners.registry import NoOptions, Registry
from planners.schema.base import Frozen, Part
from planners.schema.channels import ChannelSpec


class Preprocessor(Protocol):
    """`image_CN` are the voxels that all channels of a case have: float32, (channels, voxels). It is left unchanged.

    The result has that shape, and a sentence where the case stays as it is; else an empty text. The same voxels in another
    order give the same result but for rounding.
    """

    def __call__(self, image_CN: np.ndarray) -> tuple[np.ndarray, str]: ...


@dataclass(frozen=True)
class PreprocessorContext:
    """What a preprocessor is made for."""

    channels: tuple[ChannelSpec, ...]


class PreprocessorTraits(Frozen):
    """`modalities`: those that the channels of a dataset must have, one for one; empty: any. `changes`: it is not the
    identity. Where it is, cases are not gone through.
    """

    modalities: tuple[str, ...] = ()
    changes: bool = True


PreprocessorFactory = Callable[[Any, PreprocessorContext], Preprocessor]
PREPROCESSORS: Registry[PreprocessorFactory, PreprocessorTraits] = Registry("preprocessor", PreprocessorTraits)


@PREPROCESSORS.register("none", changes=False)
def none(options: NoOptions, context: PreprocessorContext) -> Preprocessor:
    """The case as it is."""
    return lambda image_CN: (image_CN, "")


@PREPROCESSORS.register("macenko", StainOptions, modalities=("rgb", "rgb", "rgb"))
def macenko_stains(options: StainOptions, context: PreprocessorContext) -> Preprocessor:
    """Haematoxylin and eosin of every case in the colours and the strength of a reference (`autoseg/datasets/stain.py`)."""
    return lambda image_CN: macenko(image_CN, options)


def preprocess(part: Part, channels: tuple[ChannelSpec, ...], image_CDHW: np.ndarray, present_C: np.ndarray,
               absent_CDHW: np.ndarray | None) -> tuple[np.ndarray, str]:
    """The channels of a case as a preprocessor changes them together, and a sentence where it leaves them as they are.

    Voxels that are absent in a channel, or 0 in all of them, are neither read nor changed. A case that lacks a channel
    stays as it is.
    """
    if not PREPROCESSORS.traits(part.name).changes:
        return image_CDHW, ""
    if not present_C.all():
        return image_CDHW, f"a channel is missing, so that it is not preprocessed by {part.name}"
    seen_DHW = (image_CDHW != 0).any(axis=0)
    if absent_CDHW is not None:
        seen_DHW &= ~absent_CDHW.any(axis=0)
    changed_CN, why = PREPROCESSORS.make(part, PreprocessorContext(channels))(image_CDHW[:, seen_DHW])
    if why:
        return image_CDHW, why
    changed_CDHW = image_CDHW.astype(np.float32)
    changed_CDHW[:, seen_DHW] = changed_CN
    return changed_CDHW, ""


def fault_of_channels(part: Part, channels: tuple[ChannelSpec, ...]) -> str:
    """Why a preprocessor cannot work on the channels of a dataset, as `one is mr`; empty where it can."""
    wanted = PREPROCESSORS.traits(part.name).modalities
    if not wanted:
        return ""
    found = tuple(channel.modality for channel in channels)
    if found != wanted:
        named = ", ".join(f"{channel.name!r} ({channel.modality})" for channel in channels)
        return f"{len(channels)} channel{'s' if len(channels) != 1 else ''}: {named}"
    optional = [channel.name for channel in channels if not channel.required]
    return f"{', '.join(map(repr, optional))} is optional, and a colour alone shows no stain" if optional else ""


def check_preprocessor(part: Part, channels: tuple[ChannelSpec, ...], where: object) -> None:
    """A UserError for a preprocessor that is not known, has other options, or cannot work on the channels of a plan."""
    check_part(PREPROCESSORS, part, where)
    fault = fault_of_channels(part, channels)
    if fault:
        raise UserError(f"{part.name!r} cannot work on the channels of this dataset", where=where, found=fault,
                        expected=wanted_channels(part), do="set preprocess.name of the plan to none")


def wanted_channels(part: Part) -> str:
    """What a preprocessor works on, in words."""
    wanted = PREPROCESSORS.traits(part.name).modalities
    return f"{len(wanted)} channels of modality {' and '.join(dict.fromkeys(wanted))}, which every case has"
