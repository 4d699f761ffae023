"""What `dataset.json` declares under `preprocess`: what changes all channels of a case together."""

from pydantic import ValidationError

from autoseg.base.errors import hint
from autoseg.datasets.declarations import Document, shown
from autoseg.datasets.preprocessors import PREPROCESSORS, fault_of_channels, wanted_channels
from planners.schema.base import Part, complaints_of
from planners.schema.channels import ChannelSpec

_KEY = "preprocess"
_EXAMPLE = '"macenko", or {"name": "macenko", "options": {...}}'


def read_preprocess(document: Document, channels: tuple[ChannelSpec, ...]) -> Part:
    """The preprocessor, `none` where none is declared or after a fault. No `channels`: they are at fault."""
    if _KEY not in document:
        return Part(name="none")
    given = document.get(_KEY)
    try:
        part = Part(name=given) if isinstance(given, str) else Part.model_validate(given)
    except ValidationError as error:
        document.fault((_KEY,), "'preprocess' is neither a name nor a name with options", found=complaints_of(error),
                       expected=_EXAMPLE)
        return Part(name="none")
    before = len(document.faults)
    _check(document, part, channels)
    return part if len(document.faults) == before else Part(name="none")


def _check(document: Document, part: Part, channels: tuple[ChannelSpec, ...]) -> None:
    known = PREPROCESSORS.names()
    if part.name not in known:
        document.fault((_KEY,), f"unknown preprocessor {shown(part.name)}{hint(part.name, known)}",
                       expected=", ".join(known), do="correct the name, or name the module that registers it with --plugin")
        return
    try:
        PREPROCESSORS.options(part.name, part.options)
    except ValidationError as error:
        options = ", ".join(PREPROCESSORS.entry(part.name).options.model_fields) or "none"
        document.fault((_KEY,), f"the options of preprocessor {part.name!r} are wrong", found=complaints_of(error),
                       expected=f"options: {options}")
    fault = fault_of_channels(part, channels) if channels else ""
    if fault:
        document.fault((_KEY,), f"{part.name!r} cannot work on the channels of this dataset", at_key=True, found=fault,
                       expected=wanted_channels(part),
                       do='call all three "rgb_to_0_1" in channel_names if the pictures are histology in colour, or remove '
                          "the key")
