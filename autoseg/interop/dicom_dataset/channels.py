"""Which series become channels: names that the rules for series know, or names with a rule of their own."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from autoseg.base.errors import UserError, listed
from autoseg.datasets.dicom_cases import Choice
from autoseg.datasets.dicom_rules import ChannelRule, DicomRules, plain, read_rules
from planners.schema.base import complaints_of
from planners.schema.channels import ChannelSpec
from planners.schema.names import fault_of_name

_RULE = re.compile(r"(?P<key>modality=|description~|not~)(?P<value>.+)")
_EXPECTED = "'CT_venous=modality=CT description~venous not~delayed'"


@dataclass(frozen=True)
class Channels:
    """The channels of a dataset, the rules by which series become one, and the series that the user chose."""

    specs: tuple[ChannelSpec, ...]
    rules: DicomRules
    choices: tuple[Choice, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(spec.name for spec in self.specs)

    @property
    def reference(self) -> int:
        """The number of the channel that labels lie on."""
        return next(number for number, spec in enumerate(self.specs) if spec.reference)


def channels_of(texts: Sequence[str], *, rules: Path | None = None, optional: Sequence[str] = (), reference: str = "",
                series: Sequence[str] = ()) -> Channels:
    """The channels of texts such as `CT` or `CT_venous=modality=CT description~venous not~delayed`, in their order.

    In a rule, patterns are regular expressions that are searched for in description, protocol and phase, in lower case with
    words parted by blanks. `reference` is the channel that labels lie on; empty: the first that is not optional. Raises
    UserError where something is wrong with them.
    """
    known = read_rules(rules)
    pairs = [text.partition("=") for text in texts]
    names = [name.strip() for name, _, _ in pairs]
    for name in names:
        if fault := fault_of_name(name):
            raise UserError(f"a channel cannot have the name {name!r}", where="--channel", found=fault, expected=_EXPECTED)
    if not names or len(set(names)) < len(names):
        raise UserError("the channels are not said" if not names else "a channel is named twice", where="--channel",
                        found=listed(names) or "none", expected="one or more names, such as --channel CT --channel PET",
                        do="autoseg_dicom list tells which series there are")
    if unknown := [name for name in (*optional, *filter(None, [reference])) if name not in names]:
        raise UserError("--optional and --reference name channels", found=listed(unknown),
                        expected=listed(names, len(names)))
    required = [name for name in names if name not in optional]
    reference = reference or (required or [""])[0]
    if reference not in required:
        raise UserError("the channel that labels lie on cannot be optional", found=reference or "only optional channels",
                        do="name another one with --reference")
    own = [_rule(name, text) for name, (_, equals, text) in zip(names, pairs, strict=True) if equals]
    specs = tuple(ChannelSpec(name=name, required=name in required, reference=name == reference) for name in names)
    choices = tuple(Choice.parse(text, specs) for text in series)
    return Channels(specs, known.model_copy(update={"channels": (*own, *known.channels)}), choices)


def _rule(name: str, text: str) -> ChannelRule:
    """A rule for the channel of this name alone."""
    said: dict[str, list[str]] = {"modality=": [], "description~": [], "not~": []}
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise UserError("the rule of a channel cannot be read", where=f"--channel {name}", found=f"{text!r}: {error}",
                        expected=_EXPECTED) from None
    for word in words:
        match = _RULE.fullmatch(word)
        if match is None:
            raise UserError("the rule of a channel cannot be read", where=f"--channel {name}", found=repr(word),
                            expected=_EXPECTED)
        said[match["key"]].append(match["value"])
    try:
        return ChannelRule(names=(re.escape(plain(name)),), none=tuple(map(_lower, said["not~"])),
                           modalities=tuple(map(str.upper, said["modality="])),
                           all=tuple(map(_lower, said["description~"])))
    except ValidationError as error:
        raise UserError("the rule of a channel is not valid", where=f"--channel {name}",
                        found=complaints_of(error)) from None


def _lower(pattern: str) -> str:
    """A pattern as descriptions are compared; one with a backslash means its letters (such as `\\D`)."""
    return pattern if "\\" in pattern else pattern.lower().replace("_", " ")
