"""Which channel and which label of another dataset is which of a model's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autoseg.base.errors import UserError, hint, listed
from planners.schema.base import Frozen
from planners.schema.channels import ChannelSpec
from planners.schema.labels import LabelSpec

UNION = "+"  # between names of labels that count as one


class LabelMatch(Frozen):
    """A structure that both know: labels of the model and labels of the other dataset, each as a union."""

    model: tuple[str, ...]
    other: tuple[str, ...]

    @property
    def name(self) -> str:
        return UNION.join(self.model)

    @property
    def title(self) -> str:
        return self.name if self.model == self.other else f"{self.name} ({UNION.join(self.other)} there)"


@dataclass(frozen=True)
class ChannelMatch:
    """For each channel of a model the number of the other dataset's channel, None where it has none, and what is not certain
    about it.
    """

    slots: tuple[int | None, ...]
    warnings: tuple[str, ...] = ()


def match_channels(wanted: Sequence[ChannelSpec], known: Sequence[ChannelSpec], chosen: Mapping[str, str]) -> ChannelMatch:
    """Channels as `chosen` (model's name -> other's name), else by name, else by modality, where each side has one
    such channel left.

    Raises UserError where a channel that the model needs has no counterpart, or where a chosen name is not known.
    """
    own, names = [channel.name for channel in wanted], [channel.name for channel in known]
    _check_chosen(chosen, own, names, "channel")
    lower = [name.lower() for name in names]
    slots: list[int | None] = [names.index(chosen[name]) if name in chosen else
                               lower.index(name.lower()) if name.lower() in lower else None for name in own]
    warnings = []
    for number, channel in enumerate(wanted):
        if slots[number] is not None or channel.modality == "other":
            continue
        mine = [k for k, other in enumerate(wanted) if slots[k] is None and other.modality == channel.modality]
        theirs = [k for k, other in enumerate(known) if k not in slots and other.modality == channel.modality]
        if len(mine) == len(theirs) == 1:
            slots[number] = theirs[0]
            warnings.append(f"the channel {channel.name!r} is taken from {names[theirs[0]]!r}: both are "
                            f"{channel.modality}, and no other is")
    twice = next((slot for slot in slots if slot is not None and slots.count(slot) > 1), None)
    if twice is not None:
        ours = [name for name, slot in zip(own, slots, strict=True) if slot == twice]
        raise UserError("one channel of the other dataset would be taken for several of the model's", found=names[twice],
                        expected=f"a channel each for {listed(ours)}", do="say which each is: "
                        f"--channels {' '.join(f'{name}=...' for name in ours)}")
    lacking = [channel.name for channel, slot in zip(wanted, slots, strict=True) if slot is None]
    needed = [channel.name for channel in wanted if channel.name in lacking and (channel.required or channel.reference)]
    if needed or len(lacking) == len(wanted):
        raise UserError("the other dataset has no channel for what the model takes", found=listed(names, len(names)),
                        expected=listed(needed or lacking), do=f"say which one it is: --channels {(needed or lacking)[0]}="
                        f"{names[0]}, if it is the same kind of image")
    warnings += [f"the channel {name!r} is not there: the model predicts without it" for name in lacking]
    return ChannelMatch(tuple(slots), tuple(warnings))


def match_labels(model: LabelSpec, other: LabelSpec, pairs: Sequence[str]) -> list[LabelMatch]:
    """The structures that both know: the `pairs` `OURS=THEIRS`, where either side may be a union
    (`liver+tumour=liver`), and of the others those of one name.

    Raises UserError where a name of a pair is not known, and where nothing is left to score.
    """
    matches = [_match_of_pair(text, model, other) for text in pairs]
    used = {name for match in matches for name in match.model}
    if len({match.model for match in matches}) < len(matches):
        raise UserError("a label is mapped twice", found=listed(pairs), do="join the labels that count as one with +")
    theirs = {_plain(name): name for name in other.foreground}
    matches += [LabelMatch(model=(name,), other=(theirs[_plain(name)],)) for name in model.foreground
                if name not in used and _plain(name) in theirs]
    if not matches:
        raise UserError("the model and the other dataset have no label of the same name", found=listed(other.foreground),
                        expected=listed(model.foreground),
                        do=f"say which are the same: --map {model.foreground[0]}={other.foreground[0]}")
    return sorted(matches, key=lambda match: model.foreground.index(match.model[0]))


def _match_of_pair(text: str, model: LabelSpec, other: LabelSpec) -> LabelMatch:
    mine, equals, theirs = (part.strip() for part in text.partition("="))
    if not (equals and mine and theirs):
        raise UserError("--map says no pair of labels", found=text, expected="OURS=THEIRS, such as tumour=lesion")
    sides = [tuple(name.strip() for name in side.split(UNION)) for side in (mine, theirs)]
    for names, spec, whose in zip(sides, (model, other), ("the model's", "the other dataset's"), strict=True):
        for name in names:
            if name not in spec.foreground:
                raise UserError(f"{name!r} is none of {whose} labels{hint(name, spec.foreground)}", where=f"--map {text}",
                                expected=listed(spec.foreground, len(spec.foreground)))
    return LabelMatch(model=sides[0], other=sides[1])


def _check_chosen(chosen: Mapping[str, str], own: Sequence[str], names: Sequence[str], kind: str) -> None:
    for mine, theirs in chosen.items():
        for name, known, whose in ((mine, own, "the model's"), (theirs, names, "the other dataset's")):
            if name not in known:
                raise UserError(f"{name!r} is none of {whose} {kind}s{hint(name, known)}",
                                where=f"--{kind}s {mine}={theirs}", expected=listed(known, len(known)))


def _plain(name: str) -> str:
    """A name without what people write differently: case, spaces, underscores."""
    return "".join(c for c in name.lower() if c.isalnum())
