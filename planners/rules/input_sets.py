"""Sets of inputs: how they are named, and the plan of a dataset with one of them in place of all its inputs.

A set is written as channels, then conditions: `CT`, `CT,PET`, `CT,PET+table`, `MR_T1+Age+Sex`.
"""

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b

from planners.rules.inputs import input_plan
from planners.schema.base import Frozen, Part
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionTable
from planners.schema.fingerprint import Fingerprint
from planners.schema.plan import Configuration, Plan

# Words for all conditions of a kind, and the kinds that each means.
GROUPS = {"table": ("number", "category", "ordinal"), "vectors": ("vector",), "tokens": ("tokens",)}
OF = "_of_"  # between the name of a planner and that of a set
_LONGEST_NAME = 80  # of a set, in the name of a folder


class InputSet(Frozen):
    """The channels and conditions of a set, by name, in the order of the dataset."""

    channels: tuple[str, ...]
    conditions: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """As a person writes it.

        >>> InputSet(channels=("CT", "PET"), conditions=("Age",)).title
        'CT,PET+Age'
        """
        return "+".join([",".join(self.channels), *self.conditions])

    @property
    def size(self) -> int:
        """How many inputs a patient needs."""
        return len(self.channels) + len(self.conditions)


def parse_inputs(text: str, channels: Sequence[ChannelSpec], conditions: Sequence[ConditionSpec]) -> InputSet:
    """The set that a text names; channels by name, by its beginning where that is unambiguous, or by number.

    After `+` comes a condition, or `table`, `vectors` or `tokens` for all of a kind. Raises ValueError for a name that is
    not known (it lists those that are), an ambiguous one, one that is named twice, and a set without any channel.

    >>> parse_inputs("CT, mr", [ChannelSpec(name="CT"), ChannelSpec(name="MR_T1")], ()).title
    'CT,MR_T1'
    """
    first, *rest = (word.strip() for word in text.split("+"))
    names = [channel.name for channel in channels]
    words = [word.strip() for word in first.split(",") if word.strip()]
    if not words:
        raise ValueError(f"the set {text!r} has no image; it begins with a channel: {', '.join(names)}")
    chosen = [names[int(word)] if word.isdecimal() and int(word) < len(names) and word not in names
              else _named(word, names, "channel", ()) for word in words]
    _check_once(chosen, text)
    asked = [name for word in rest for name in _conditions(word, conditions)]
    _check_once(asked, text)
    return InputSet(channels=tuple(name for name in names if name in chosen),
                    conditions=tuple(spec.name for spec in conditions if spec.name in asked))


def _conditions(word: str, specs: Sequence[ConditionSpec]) -> list[str]:
    """The names of the conditions that a word after `+` means."""
    if word.lower() not in GROUPS:
        return [_named(word, [spec.name for spec in specs], "condition", tuple(GROUPS))]
    names = [spec.name for spec in specs if spec.kind in GROUPS[word.lower()]]
    if not names:
        known = ", ".join(spec.name for spec in specs) or "no condition at all"
        raise ValueError(f"+{word.lower()} names nothing: dataset.json declares {known}")
    return names


def _named(word: str, names: Sequence[str], kind: str, more: Sequence[str]) -> str:
    """The name that a word is, or is the only beginning of, whatever its case."""
    for fits in ([name for name in names if name == word], [name for name in names if name.lower() == word.lower()],
                 [name for name in names if word and name.lower().startswith(word.lower())]):
        if len(fits) == 1:
            return fits[0]
        if fits:
            raise ValueError(f"{word!r} is ambiguous: it may be {' or '.join(fits)}")
    raise ValueError(f"unknown {kind} {word!r}; known: {', '.join((*names, *more)) or 'none'}")


def _check_once(names: Sequence[str], text: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the set {text!r} names {', '.join(twice)} twice")


def union(sets: Iterable[InputSet], channels: Sequence[ChannelSpec], conditions: Sequence[ConditionSpec]) -> InputSet:
    """The set of all inputs that these sets have."""
    sets = list(sets)
    return InputSet(channels=tuple(channel.name for channel in channels if any(channel.name in s.channels for s in sets)),
                    conditions=tuple(spec.name for spec in conditions if any(spec.name in s.conditions for s in sets)))


def grid_fault(inputs: InputSet, channels: Sequence[ChannelSpec]) -> str:
    """Why a set cannot be scored on the labels of the dataset; empty where it can.

    Labels lie on the grid of the reference channel. Channels that lie there already can do without it. So can one channel
    alone that is regridded: it is trained and scored on the grid of the labels, and predicts on its own, which shows the
    same. Several channels, or one that is registered, need the reference: without it they would come to another grid in
    prediction than in training.
    """
    reference = next((channel.name for channel in channels if channel.reference), channels[0].name)
    chosen = [channel for channel in channels if channel.name in inputs.channels]
    moved = [channel.name for channel in chosen if channel.is_moved]
    if not moved or reference in inputs.channels or (len(chosen) == 1 and chosen[0].is_regridded):
        return ""
    return (f"{inputs.title} leaves out {reference}, on whose grid the labels lie, and without it {', '.join(moved)} would "
            f"come to another grid in prediction than in training; name {reference}, too, or give the dataset images that "
            "lie on its grid already")


def planner_of(planner: str, inputs: InputSet) -> str:
    """The name under which a set is planned, prepared and trained; plain characters, no longer than a folder's name may be.

    >>> planner_of("budgeted", InputSet(channels=("CT", "PET"), conditions=("Age",)))
    'budgeted_of_CT-PET+Age'
    """
    plain = "+".join(["-".join(map(_plain, inputs.channels)), *map(_plain, inputs.conditions)])
    exact = all(_plain(name) == name for name in (*inputs.channels, *inputs.conditions))
    if not exact or len(plain) > _LONGEST_NAME:  # two sets never share a name
        plain = f"{plain[:_LONGEST_NAME]}-{blake2b(inputs.title.encode(), digest_size=3).hexdigest()}"
    return f"{planner}{OF}{plain}"


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "_", name)


def with_inputs(plan: Plan, configuration: str, inputs: InputSet, fingerprint: Fingerprint) -> Plan:
    """The plan with one configuration and these inputs alone. All that does not follow from the inputs stays as it is, so
    that models of several sets differ in nothing else: grid, patch, batch, network, schedule.

    Raises ValueError for the second stage of a cascade, whose earlier stage would have other inputs.
    """
    chosen = plan.configurations[configuration]
    if chosen.previous:
        raise ValueError(f"{configuration} is the second stage of a cascade; compare inputs of its first, {chosen.previous}")
    names = [channel.name for channel in plan.channels]
    places = [names.index(name) for name in inputs.channels]
    numbers = tuple(plan.numbers[place] for place in places)
    is_all = len(places) == len(names)
    columns = {name: column for name, column in plan.modality_columns.items() if name in inputs.channels}
    specs = tuple(spec for spec in plan.conditions.specs if spec.name in inputs.conditions)
    return plan.model_copy(update={
        "planner": planner_of(plan.planner, inputs), "channels": tuple(plan.channels[place] for place in places),
        "channel_numbers": plan.channel_numbers if is_all else numbers, "grid_number": _grid_number(plan, places),
        "prepared_by": "" if not inputs.conditions else planner_of(plan.planner, InputSet(channels=inputs.channels)),
        "intensities": tuple(plan.intensities[place] for place in places) if plan.intensities else (),
        "conditions": plan.conditions.model_copy(update={"specs": specs}), "modality_columns": columns, "first": None,
        "reasons": (f"takes {inputs.title} of the inputs that {plan.planner} has; all else is planned as there",),
        "configurations": {configuration: _with_inputs(chosen, places, inputs, plan, fingerprint)}})


def _grid_number(plan: Plan, places: Sequence[int]) -> int | None:
    """The number of the reference channel, where it is left out and one of the channels that stay is brought to its grid."""
    if not any(plan.channels[place].is_moved for place in places):
        return None
    left_out = [number for place, number in enumerate(plan.numbers)
                if plan.channels[place].reference and place not in places]
    return left_out[0] if left_out else plan.grid_number


def _with_inputs(chosen: Configuration, places: Sequence[int], inputs: InputSet, plan: Plan, fingerprint: Fingerprint
                 ) -> Configuration:
    hidden = chosen.input_dropout
    swap = tuple(name for name in hidden.swap if name in inputs.conditions)
    hidden = hidden.model_copy(update={
        "channels": tuple(hidden.channels[place] for place in places) if hidden.channels else (),
        "shift_voxels": tuple(hidden.shift_voxels[place] for place in places) if hidden.shift_voxels else (),
        "swap": swap, "p_swap": hidden.p_swap if swap else 0.0,
        **({} if inputs.conditions else {"row": 0.0, "column": 0.0})})
    conditioning = chosen.conditioning
    if not inputs.conditions:
        conditioning = Part(name="none")
    elif conditioning == input_plan(fingerprint).conditioning:  # by the rule, which may say another for fewer conditions
        specs = tuple(spec for spec in plan.conditions.specs if spec.name in inputs.conditions)
        fewer = fingerprint.model_copy(update={"conditions": ConditionTable(specs=specs)})
        conditioning = input_plan(fewer).conditioning
    return chosen.model_copy(update={
        "normalizers": tuple(chosen.normalizers[place] for place in places), "data": "", "conditioning": conditioning,
        "input_dropout": hidden})


def joint_plan(plans: Sequence[Plan]) -> Plan:
    """The first of several plans of one dataset with the channels and conditions of all: what files they take together."""
    if all(plan.numbers == plans[0].numbers and plan.conditions == plans[0].conditions for plan in plans):
        return plans[0]
    channels = {number: channel for plan in plans for number, channel in zip(plan.numbers, plan.channels, strict=True)}
    numbers = tuple(sorted(channels))
    specs = {spec.name: spec for plan in plans for spec in plan.conditions.specs}
    table = max((plan.conditions for plan in plans), key=lambda known: len(known.specs))
    grids = [plan.grid_number for plan in plans if plan.grid_number not in (None, *numbers)]
    return plans[0].model_copy(update={
        "channels": tuple(channels[number] for number in numbers), "intensities": (),
        "grid_number": grids[0] if grids else None,
        "channel_numbers": numbers if all(plan.channel_numbers for plan in plans) else (),
        "conditions": table.model_copy(update={"specs": tuple(specs.values())}),
        "modality_columns": {name: column for plan in plans for name, column in plan.modality_columns.items()}})
