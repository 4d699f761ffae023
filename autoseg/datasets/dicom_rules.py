"""Which series of a study can be a channel of a model: rules that ship as JSON, and that users copy and edit."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator

from autoseg.formats.dicom import Series, Stack
from autoseg.workspace.files import read_model
from planners.schema.base import Frozen, versioned
from planners.schema.channels import modality_of

SHIPPED = Path(__file__).parent / "dicom_rules.json"
_DICOM_MODALITIES = {"ct": "CT", "pet": "PT", "mr": "MR"}
_NO_PHASES = ("echo", "b-value", "image type", "orientation")  # what parts a series, but not in time
_NUMBER = re.compile(r"(?:^|[^a-z0-9]|\b(?:b|ph|phase|post|pre|dce|dyn))([0-9]+)$")


@dataclass(frozen=True)
class Candidate:
    """What can be a channel: a volume, or what should be one and cannot be read (`fault`, without a `stack`).

    `number` says which of the `n_volumes` of its series it is, from 1.
    """

    facts: Series
    stack: Stack | None = None
    n_volumes: int = 1
    fault: str = ""

    @property
    def phase(self) -> str:
        return self.stack.phase if self.stack is not None else ""

    @property
    def number(self) -> int:
        return self.stack.number if self.stack is not None else 1

    @property
    def called(self) -> str:
        """For messages, with what `--series` takes."""
        phase = f", phase {self.number} of {self.n_volumes} ({self.phase})" if self.n_volumes > 1 else ""
        slices = f", {len(self.stack.slices)} slices" if self.stack is not None else ", cannot be read"
        quantity = f", RescaleType {self.other_quantity}" if self.other_quantity else ""
        return f"{self.facts.called}{phase}{slices}{quantity}"

    @property
    def other_quantity(self) -> str:
        """Of a CT whose values are no HU, what they are."""
        return self.stack.other_quantity if self.stack is not None else ""

    def said(self) -> str:
        """What patterns are compared with: description, protocol and phase."""
        return plain(" ".join((self.facts.description, self.facts.protocol, self.phase)))


def _sound(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    return pattern


Pattern = Annotated[str, AfterValidator(_sound)]


class Ignored(Frozen):
    """Series that are no channel unless the user names them: by a value of ImageType, by words of their description, by the
    number of slices. Maps of CT whose values are no HU always are.
    """

    image_types: tuple[str, ...] = ()
    descriptions: tuple[Pattern, ...] = ()
    fewest_slices: int = 1

    def reason(self, candidate: Candidate) -> str:
        """Why a candidate is ignored; empty where it is not."""
        if candidate.stack is not None:
            slices = candidate.stack.slices
            marked = [value for value in slices[0].image_type if value.upper() in self.image_types]
            if marked:
                return f"ImageType {marked[0]}"
            if len(slices) < self.fewest_slices:
                return f"{len(slices)} slice{'s' * (len(slices) > 1)}"
        if candidate.other_quantity:
            return f"its values are no HU: RescaleType {candidate.other_quantity}"
        is_named = _finds_one(self.descriptions, plain(candidate.facts.description))
        return f"description {candidate.facts.description!r}" if is_named else ""


class ChannelRule(Frozen):
    """What fits the channels whose names match one of `names` as a whole.

    Names and what a series says (description, protocol, phase) are compared in lower case, words parted by single spaces.
    `any`: one of these is found in it; `all`: each is; `none`: none is. `number` says what a number in the channel's name
    counts: the phases of a dynamic series, or its b-value.
    """

    names: tuple[Pattern, ...] = ()
    modalities: tuple[str, ...] = ()
    any: tuple[Pattern, ...] = ()
    all: tuple[Pattern, ...] = ()
    none: tuple[Pattern, ...] = ()
    number: Literal["phase", "b-value"] | None = None

    def fits(self, channel: str, candidate: Candidate, *, from_zero: bool) -> bool:
        """Whether a candidate can be a channel that this rule names; `from_zero`: the model counts phases from 0."""
        said = candidate.said()
        if self.modalities and candidate.facts.modality not in self.modalities:
            return False
        if (self.any and not _finds_one(self.any, said)) or _finds_one(self.none, said):
            return False
        if not all(re.search(pattern, said) for pattern in self.all):
            return False
        number = number_in(channel)
        if self.number is None or number is None:
            return True
        return _is_phase(number, candidate, from_zero) if self.number == "phase" else _has_b_value(number, candidate)


class DicomRules(Frozen):
    """The file of rules. Of `channels` the first rule that names a channel decides."""

    schema_version: int = versioned(1)
    ignored: Ignored = Ignored()
    channels: tuple[ChannelRule, ...]

    def rule_of(self, channel: str) -> ChannelRule:
        """The first rule for a channel. Where the file has none, a series must say every word of the channel's name."""
        name = plain(channel)
        for rule in self.channels:
            if any(re.fullmatch(pattern, name) for pattern in rule.names):
                return rule
        modality = _DICOM_MODALITIES.get(modality_of(channel))
        words = tuple(rf"\b{re.escape(word)}\b" for word in name.split() if word not in ("ct", "pet", "mr", "mri"))
        return ChannelRule(modalities=(modality,) if modality else (), all=words)

    def counts_from_zero(self, channels: Sequence[str]) -> bool:
        """Whether the numbered phases of a model begin with 0."""
        return any(number_in(channel) == 0 for channel in channels if self.rule_of(channel).number == "phase")


def read_rules(path: Path | None = None) -> DicomRules:
    """The rules of a file, else those of the package. Raises UserError where they are missing or not valid."""
    return read_model(path or SHIPPED, DicomRules)


def plain(text: str) -> str:
    """A name in lower case, its words parted by single spaces.

    >>> plain("CT_portal-venous")
    'ct portal venous'
    """
    return " ".join(re.sub(r"[_\-./^,:;()\[\]]+", " ", text.lower()).split())


def number_in(channel: str) -> int | None:
    """The number at the end of a channel's name that counts something; None where there is none.

    >>> [number_in(name) for name in ("DCE_2", "post1", "DWI_b800", "MR_T1")]
    [2, 1, 800, None]
    """
    match = _NUMBER.search(plain(channel))
    return int(match[1]) if match else None


def _finds_one(patterns: Sequence[str], said: str) -> bool:
    return any(re.search(pattern, said) for pattern in patterns)


def _is_phase(number: int, candidate: Candidate, from_zero: bool) -> bool:
    """Whether a candidate is the phase of a number: by its place among the phases of its series, else by its description."""
    if candidate.n_volumes > 1:
        in_time = not any(name in candidate.phase for name in _NO_PHASES)
        return in_time and candidate.number == number + from_zero
    words = rf"\b(?:ph|phase|post|pass|dyn|dce) ?0*{number}\b|\b{number}(?:st|nd|rd|th)\b"
    return bool(re.search(rf"{words}|\bpre\b" if number == 0 else words, candidate.said()))


def _has_b_value(number: int, candidate: Candidate) -> bool:
    marks = [part.mark("b-value") for part in candidate.stack.slices[:1]] if candidate.stack is not None else []
    try:
        return float(marks[0]) == number
    except (IndexError, ValueError):
        return bool(re.search(rf"\bb ?(?:value )?0*{number}\b", candidate.said()))
