"""The channels and labels that `dataset.json` declares, checked entry by entry; faults get line and column."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import TypeAdapter, ValidationError

from autoseg.base.errors import UserError, hint
from autoseg.datasets.jsontext import JsonText
from autoseg.datasets.jsontext import Path as Place
from planners.schema.channels import ChannelSpec, Registration
from planners.schema.labels import LabelSpec

logger = logging.getLogger(__name__)

D = TypeVar("D")
T = TypeVar("T")

_HIGHEST_LABEL = int(np.iinfo(np.int16).max)  # labels are int16 in memory


@dataclass
class Document:
    """A JSON text under examination: its data, its file and the faults found so far."""

    json: JsonText
    file: Path
    faults: list[str] = field(default_factory=list)

    def __contains__(self, key: str) -> bool:
        return key in self.json.data

    def get(self, key: str, default: Any = None) -> Any:
        return self.json.data.get(key, default)

    def sentence(self, place: Place, what: str, *, at_key: bool = False, **details: Any) -> str:
        """What is wrong at a value, or at its key, with line and column; `details` are those of UserError."""
        position = self.json.key(place) if at_key else self.json.value(place)
        return str(UserError(what, where=f"{self.file}, {position}", **details))

    def fault(self, place: Place, what: str, *, at_key: bool = False, **details: Any) -> None:
        """Note a fault; the arguments are those of `sentence`."""
        self.faults.append(self.sentence(place, what, at_key=at_key, **details))

    def text(self, key: str, default: str = "") -> str:
        """The text under a key; a fault where it is none."""
        value = self.get(key, default)
        if not isinstance(value, str):
            self.fault((key,), f"{key!r} is not a text", found=shown(value))
            return default
        return value

    def typed(self, key: str, kind: TypeAdapter[T], default: D) -> T | D:
        """The value under a key as a type; each of pydantic's complaints becomes a fault with its place."""
        if key not in self:
            return default
        try:
            return kind.validate_python(self.get(key))
        except ValidationError as error:
            for complaint in error.errors():
                unknown = complaint["type"] == "extra_forbidden"
                place = (key, *complaint["loc"])
                what = f"unknown key {place[-1]!r}" if unknown else complaint["msg"].removeprefix("Value error, ")
                self.fault(place, what, at_key=unknown, found=None if unknown else shown(complaint["input"]))
            return default

    def names_in(self, place: Place, names: Iterable[Any], known: Iterable[str], kind: str) -> None:
        """Note a fault for each name that is not known."""
        known = list(known)
        for i, name in enumerate(names):
            if name not in known:
                self.fault((*place, i), f"unknown {kind} {shown(name)}{hint(name, known)}", expected=", ".join(known))


def shown(value: Any) -> str:
    """A JSON value in a message, cut at a readable length."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def read_channels(document: Document) -> tuple[ChannelSpec, ...]:
    """Channels in the order of their numbers, from `channel_names`, `optional_channels`, `reference_channel` and
    `registration`; where a reference is named, the others are regridded to it unless said otherwise.
    """
    if "channel_names" not in document:
        _refuse_modality(document)
        return ()
    entries = document.get("channel_names")
    if not isinstance(entries, dict) or not entries:
        document.fault(("channel_names",), "'channel_names' is not an object with one entry per channel",
                       found=shown(entries), expected='{"0": "CT", ...}')
        return ()
    for key, name in entries.items():
        place = ("channel_names", key)
        if not isinstance(name, str) or not name.strip():
            document.fault(place, f"the name of channel {key} is not a text", found=shown(name))
    wanted = [str(k) for k in range(len(entries))]
    if sorted(entries) != sorted(wanted):
        wrong = next(key for key in entries if key not in wanted)
        expected = ", ".join(f'"{k}"' for k in wanted)
        swapped = isinstance(entries[wrong], int) or str(entries[wrong]).isdigit()
        document.fault(("channel_names", wrong), "the keys of 'channel_names' are not the channels' numbers",
                       at_key=True, found=shown(wrong), expected=expected,
                       do="write number and name the other way round" if swapped else "number them from 0")
        return ()
    names = [str(entries[k]) for k in wanted]
    optional, reference = _optional_channels(document, names), _reference_channel(document, names)
    if reference in optional:
        document.fault(("reference_channel",), f"the reference channel {reference!r} is optional",
                       expected="a channel that every case has, since labels and all channels are brought to its grid",
                       do="take it out of optional_channels, or name another channel")
    registration = _registration(document, names, reference)
    others = "regrid" if reference else "none"
    return tuple(ChannelSpec(name=name, required=name not in optional, reference=name == reference,
                             registration="none" if name == reference else registration.get(name, others))
                 for name in names)


def _reference_channel(document: Document, names: list[str]) -> str:
    """The channel on whose grid the labels lie; empty where none is named, or after a fault."""
    name = document.text("reference_channel")
    if name and name not in names:
        document.fault(("reference_channel",), f"unknown channel {name!r}{hint(name, names)}", expected=", ".join(names))
        return ""
    if names.count(name) > 1:
        document.fault(("reference_channel",), f"{names.count(name)} channels are called {name!r}",
                       do="give each its own name")
    return name


def _registration(document: Document, names: list[str], reference: str) -> dict[str, Registration]:
    """How each channel that is named is brought to the reference's grid."""
    kinds = document.typed("registration", TypeAdapter(dict[str, Registration]), {})
    for name, kind in kinds.items():
        place = ("registration", name)
        if name not in names:
            document.fault(place, f"unknown channel {name!r}{hint(name, names)}", at_key=True, expected=", ".join(names))
        elif name == (reference or names[0]):
            document.fault(place, "the reference channel cannot be registered to itself", at_key=True)
        elif kind != "none" and not document.get("reference_channel"):
            document.fault(place, f"the channel {name!r} is to be brought to a reference, but none is named", at_key=True,
                           do="name the channel on whose grid the labels lie under reference_channel")
    return kinds


def _refuse_modality(document: Document) -> None:
    if "modality" in document:
        document.fault(("modality",), "'modality' is a key of nnU-Net v1", at_key=True, expected="'channel_names'",
                       do="rename the key; v2 also wants labels as name: value, and file_ending")
    else:
        close = hint("channel_names", [key for key in document.json.data if isinstance(key, str)], near=0.6)
        document.fault((), f"the key 'channel_names' is missing{close}", expected='"channel_names": {"0": "CT", ...}')


def _optional_channels(document: Document, names: list[str]) -> set[str]:
    optional = document.get("optional_channels", [])
    place = ("optional_channels",)
    if not isinstance(optional, list):
        document.fault(place, "'optional_channels' is not a list", found=shown(optional),
                       expected="a list of channel names")
        return set()
    document.names_in(place, optional, names, "channel")
    for i, name in enumerate(optional):
        if names.count(name) > 1:
            document.fault((*place, i), f"{names.count(name)} channels are called {name!r}",
                           do="give each its own name")
    return {name for name in optional if isinstance(name, str)}


def read_labels(document: Document) -> LabelSpec | None:
    """Labels or regions from `labels`, `regions_class_order` and `paired_labels`; None where they are at fault."""
    before = len(document.faults)
    entries = document.get("labels")
    if not isinstance(entries, dict) or not entries:
        _missing_labels(document, entries)
        return None
    if _is_first_version(entries):
        proper = {str(name): int(value) for value, name in entries.items()}
        document.fault(("labels",), "the labels are written as in nnU-Net v1, value: name", found=shown(entries),
                       expected="name: value", do=f'write "labels": {str(proper).replace(chr(39), chr(34))}')
        return None
    values = {name: _label_values(document, name, entry) for name, entry in entries.items()}
    if "background" not in values:
        document.fault(("labels",), "the label 'background' is missing", expected='"background": 0')
    elif entries["background"] != 0 and values["background"]:
        document.fault(("labels", "background"), "'background' is not 0", found=shown(entries["background"]),
                       expected="0")
    ignore = _ignore_label(document, entries, values)
    has_regions = any(len(v) > 1 for v in values.values())
    if has_regions:
        ordered = {"background": (0,)} | {name: v for name, v in values.items() if v != (0,)}
    else:
        _refuse_shared_values(document, values)
        if document.get("regions_class_order") is not None:
            logger.warning("%s, %s: 'regions_class_order' has no effect: no label has several values", document.file,
                           document.json.key(("regions_class_order",)))
        ordered = dict(sorted(values.items(), key=lambda item: item[1]))
    if len(ordered) < 2:
        document.fault(("labels",), "no label beside the background is declared", found=shown(entries))
    order = _region_order(document, [name for name in ordered if name != "background"]) if has_regions else None
    paired = _paired_labels(document, list(ordered))
    if len(document.faults) > before:
        return None
    return LabelSpec(names=ordered, region_order=order, ignore=ignore, paired=paired)


def _missing_labels(document: Document, entries: Any) -> None:
    example = '"labels": {"background": 0, "liver": 1}'
    if entries is None and "labels" not in document:
        close = hint("labels", document.json.data, near=0.6)
        document.fault((), f"the key 'labels' is missing{close}", expected=example)
    else:
        document.fault(("labels",), "'labels' is not an object with one entry per label", found=shown(entries),
                       expected=example)


def _is_first_version(entries: dict[str, Any]) -> bool:
    return all(key.isdigit() for key in entries) and all(isinstance(name, str) and not name.isdigit()
                                                         for name in entries.values())


def _label_values(document: Document, name: str, entry: Any) -> tuple[int, ...]:
    """The values of one label or region, sorted; empty after a fault."""
    place = ("labels", name)
    numbers = entry if isinstance(entry, list) else [entry]
    if not numbers:
        document.fault(place, f"the region {name!r} is empty", expected="at least one label value")
    for i, number in enumerate(numbers):
        at = (*place, i) if isinstance(entry, list) else place
        if not isinstance(number, int) or isinstance(number, bool):
            document.fault(at, f"the value of label {name!r} is not an integer", found=shown(number),
                           expected="a number, or a list of numbers for a region")
            return ()
        if not 0 <= number <= _HIGHEST_LABEL:
            document.fault(at, f"the value of label {name!r} is out of range", found=number,
                           expected=f"0 to {_HIGHEST_LABEL}")
            return ()
    return tuple(sorted(set(numbers)))


def _ignore_label(document: Document, entries: dict[str, Any], values: dict[str, tuple[int, ...]]) -> int | None:
    """Takes `ignore` out of `values`; it must be one number above all others."""
    ignored = values.pop("ignore", ())
    if not ignored:
        return None
    highest = max((v for others in values.values() for v in others), default=0)
    if isinstance(entries["ignore"], list) or ignored[0] <= highest:
        document.fault(("labels", "ignore"), "the label 'ignore' is not the highest value",
                       found=shown(entries["ignore"]), expected=f"one number, {highest + 1} or more")
    return ignored[0]


def _refuse_shared_values(document: Document, values: dict[str, tuple[int, ...]]) -> None:
    owner: dict[tuple[int, ...], str] = {}
    for name, value in values.items():
        if value and value in owner:
            document.fault(("labels", name), f"labels {owner[value]!r} and {name!r} have the same value",
                           found=value[0], expected="one value per label")
        owner.setdefault(value, name)


def _region_order(document: Document, regions: list[str]) -> tuple[int, ...] | None:
    place = ("regions_class_order",)
    order = document.get("regions_class_order")
    expected = f"{len(regions)} label values, one per region: {', '.join(regions)}"
    if order is None:
        document.fault(("labels",), "labels with several values are regions, but 'regions_class_order' is missing",
                       expected=expected)
    elif (not isinstance(order, list) or len(order) != len(regions)
          or any(not isinstance(v, int) or isinstance(v, bool) or not 0 < v <= _HIGHEST_LABEL for v in order)):
        document.fault(place, "'regions_class_order' does not fit the regions", found=shown(order), expected=expected)
    else:
        return tuple(order)
    return None


def _paired_labels(document: Document, names: list[str]) -> tuple[tuple[str, str], ...]:
    place = ("paired_labels",)
    pairs = document.get("paired_labels", [])
    if not isinstance(pairs, list):
        document.fault(place, "'paired_labels' is not a list", found=shown(pairs),
                       expected="a list of pairs of label names")
        return ()
    used: list[str] = []
    for i, pair in enumerate(pairs):
        if not isinstance(pair, list) or len(pair) != 2:
            document.fault((*place, i), "a pair of labels is not two names", found=shown(pair),
                           expected='["left", "right"]')
            continue
        document.names_in((*place, i), pair, names, "label")
        if pair[0] == pair[1] or any(name in used for name in pair):
            document.fault((*place, i), "a label is paired twice", found=shown(pair), expected="each label in one pair")
        used += pair
    return tuple((pair[0], pair[1]) for pair in pairs if isinstance(pair, list) and len(pair) == 2)
