"""What the inputs ask for: one normaliser per channel, fusion, conditioning, input dropout."""

from collections.abc import Mapping, Sequence

import numpy as np

from planners.schema.base import Frozen, Part
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionStats
from planners.schema.fingerprint import Fingerprint, IntensityStats
from planners.schema.plan import InputDropout

MASKED_BELOW = 0.75  # share of the volume that the crop keeps, median over the cases
_NORMALIZER_OF = {"ct": "ct", "none": "none", "rescale01": "rescale01", "rgb": "rgb"}  # any other modality: z-score
_ZSCORE_MASKED = "zscore_masked"
BY_MODALITY = "by_modality"  # the normaliser of a channel that has several modalities

# Share of the samples in which an optional channel is hidden. In arXiv 2602.20218, one sequence was hidden in 35 to 50 %
# of the samples. With all sequences nothing was lost, and without that one up to 32 points were gained. All optional
# channels together are hidden more rarely.
HIDE_CHANNEL = 0.3
# Share of the samples in which all conditions are hidden together, and in which each is hidden by itself.
HIDE_ROW, HIDE_COLUMN = 0.3, 0.15
# Share of the samples in which a category is another patient's, where there are more than two and fewer patients share one:
# it nearly names a patient, and a network learns its few patients by it. Numbers are not swapped: one that decides would
# no longer be learned (docs/decisions/0074).
SWAP, TWO, SHARED_BY = 0.5, 2, 20
# A channel that was regridded or registered may be displaced by this much, in this share of the samples.
SHIFT_VOXELS, P_SHIFT = 1.0, 0.2
MISSING_ABOVE = 0.95  # of the cases: a condition that so many lack teaches nothing


class InputPlan(Frozen):
    """Decisions about the inputs, and why, in words."""

    preprocess: Part = Part(name="none")
    normalizers: tuple[Part, ...]
    fusion: Part = Part(name="concat")
    conditioning: Part = Part(name="none")
    input_dropout: InputDropout = InputDropout()
    reasons: tuple[str, ...]


def input_plan(fingerprint: Fingerprint) -> InputPlan:
    """Normalisers by modality; channels are concatenated, and hidden in training where a case may lack them.

    Conditions that are declared and vary between cases condition the network: by cross-attention where there are token
    bags, else by FiLM (Perez et al. 2018).
    """
    inside = float(np.median([case.relative_size for case in fingerprint.cases])) if fingerprint.cases else 1.0
    normalizers = normalizers_for(fingerprint.channels, inside, fingerprint.intensities_of_modalities)
    chosen = [part for normalizer in normalizers for part in (normalizer, *_choices(normalizer).values())]
    reasons = [_normalised_by(channel, part, fingerprint.modality_columns)
               for channel, part in zip(fingerprint.channels, normalizers, strict=True)]
    if any(part.name == _ZSCORE_MASKED for part in chosen):
        reasons.append(f"statistics of the non-zero mask only: the crop keeps {inside:.0%} of the median volume")
    if fingerprint.preprocess.name != "none":
        reasons.insert(0, f"all channels are changed together by {fingerprint.preprocess.name}, as dataset.json declares, "
                          "before each is normalised; a prediction does the same")
    if len(fingerprint.channels) > 1:
        reasons.append("channels are concatenated: no other fusion is known to be better in a tuned U-Net")
    conditioning, why = _conditioning(fingerprint)
    input_dropout, hidden = _input_dropout(fingerprint, conditioned=conditioning is not None)
    return InputPlan(preprocess=fingerprint.preprocess, normalizers=normalizers, input_dropout=input_dropout,
                     conditioning=conditioning or Part(name="none"),
                     reasons=(*reasons, *_aligned(fingerprint), *why, *hidden))


def normalizers_for(channels: Sequence[ChannelSpec], kept_by_crop: float,
                    of_modalities: Sequence[Mapping[str, IntensityStats]] = ()) -> tuple[Part, ...]:
    """One normaliser per channel; of a channel that has several modalities, one for each, with the statistics of its cases.

    CT keeps its unit and is scaled by the dataset's statistics; `kept_by_crop` is the median share of the volume inside
    the non-zero crop: where it is small, z-scores are taken within the non-zero mask.
    """
    zscore = _ZSCORE_MASKED if kept_by_crop < MASKED_BELOW else "zscore"
    several = [of_modalities[number] if number < len(of_modalities) else {} for number in range(len(channels))]
    return tuple(_by_modality(stats, zscore) if stats else Part(name=_NORMALIZER_OF.get(channel.modality, zscore))
                 for channel, stats in zip(channels, several, strict=True))


def _by_modality(stats: Mapping[str, IntensityStats], zscore: str) -> Part:
    parts = {modality: Part(name=_NORMALIZER_OF.get(modality, zscore)).model_dump() for modality in stats}
    return Part(name=BY_MODALITY, options={
        "parts": parts, "intensities": {modality: each.model_dump() for modality, each in stats.items()}})


def _choices(normalizer: Part) -> dict[str, Part]:
    """The normaliser of each modality; none of a channel that has one modality."""
    return {modality: Part.model_validate(part) for modality, part in normalizer.options.get("parts", {}).items()}


def _normalised_by(channel: ChannelSpec, normalizer: Part, columns: Mapping[str, str]) -> str:
    choices = _choices(normalizer)
    if not choices:
        return f"channel {channel.name!r} is {channel.modality}: normalised by {normalizer.name}"
    each = ", ".join(f"{modality} by {part.name}" for modality, part in choices.items())
    return f"channel {channel.name!r} has the modality that the column {columns[channel.name]!r} says: normalised {each}"


def _aligned(fingerprint: Fingerprint) -> list[str]:
    """How channels come to one grid, and how much of it they cover."""
    reference = next((channel.name for channel in fingerprint.channels if channel.reference), "the first channel")
    reasons = []
    for index, channel in enumerate(fingerprint.channels):
        if channel.is_moved:
            action = "regridded" if channel.is_regridded else f"registered ({channel.registration})"
            covered = f", of which it covers {fingerprint.coverage[index]:.0%}" if fingerprint.coverage else ""
            reasons.append(f"channel {channel.name!r} is {action} to the grid of {reference}{covered}")
    return reasons


def _conditioning(fingerprint: Fingerprint) -> tuple[Part | None, list[str]]:
    """The conditioner, None where nothing could condition, and why."""
    specs = fingerprint.conditions.specs
    if not specs:
        return None, ["images alone decide: no table, vector or token bag is declared"]
    stats = {stat.name: stat for stat in fingerprint.condition_stats}
    faults = [(spec.name, _useless(spec, stats.get(spec.name))) for spec in specs]
    reasons = [f"condition {name!r} can teach nothing: {why}" for name, why in faults if why]
    useful = [spec for spec, (_, why) in zip(specs, faults, strict=True) if not why]
    if not useful:
        return None, reasons
    bags = [spec.name for spec in useful if spec.kind == "tokens"]
    name, why = ("tokens", f"{', '.join(bags)} is a bag of tokens") if bags else ("film", "columns and vectors scale "
                                                                                 "and shift features")
    reasons.append(f"{', '.join(spec.name for spec in useful)} condition the network by {name}: {why}; "
                   "autoseg_ablate says whether they help")
    return Part(name=name), reasons


def _useless(spec: ConditionSpec, stats: ConditionStats | None) -> str:
    """Why a condition cannot help; empty where it may, or where nothing was measured."""
    if stats is None:
        return ""
    if stats.missing > MISSING_ABOVE:
        return f"{stats.missing:.0%} of the cases lack it"
    if spec.kind in ("number", "category", "ordinal") and stats.distinct < 2:
        return "it has one value"
    return ""


def _nearly_names(fingerprint: Fingerprint) -> tuple[str, ...]:
    """The categories and ranks that few patients share; a modality is not among them, as the images show it, too."""
    kinds = {spec.name: spec.kind for spec in fingerprint.conditions.specs}
    return tuple(stats.name for stats in fingerprint.condition_stats
                 if kinds.get(stats.name) in ("category", "ordinal") and stats.missing <= MISSING_ABOVE
                 and stats.name not in fingerprint.modality_columns.values() and stats.distinct > TWO
                 and (1 - stats.missing) * len(fingerprint.cases) < SHARED_BY * stats.distinct)


def _input_dropout(fingerprint: Fingerprint, conditioned: bool) -> tuple[InputDropout, list[str]]:
    optional = [channel.name for channel in fingerprint.channels if not channel.required]
    moved = [channel.name for channel in fingerprint.channels if channel.is_moved]
    input_dropout, reasons = InputDropout(), []
    if optional:
        shares = tuple(0.0 if channel.required else HIDE_CHANNEL for channel in fingerprint.channels)
        input_dropout = input_dropout.model_copy(update={"channels": shares})
        reasons.append(f"{', '.join(optional)} hidden in {HIDE_CHANNEL:.0%} of the samples each, as cases may lack them")
    if conditioned:
        input_dropout = input_dropout.model_copy(update={"row": HIDE_ROW, "column": HIDE_COLUMN})
        reasons.append(f"conditions hidden in {HIDE_ROW:.0%} of the samples, and each by itself in {HIDE_COLUMN:.0%}: a "
                       "patient without a row is predicted, too")
        if swap := _nearly_names(fingerprint):
            input_dropout = input_dropout.model_copy(update={"swap": swap, "p_swap": SWAP})
            reasons.append(f"{', '.join(swap)} are another patient's in {SWAP:.0%} of the samples each: few "
                           "patients share a category, so that it nearly names a patient, who would be learned by heart")
    if moved:
        shifts = tuple(SHIFT_VOXELS if channel.is_moved else 0.0 for channel in fingerprint.channels)
        input_dropout = input_dropout.model_copy(update={"shift_voxels": shifts, "p_shift": P_SHIFT})
        reasons.append(f"{', '.join(moved)} displaced by up to {SHIFT_VOXELS:g} voxel in {P_SHIFT:.0%} of the samples: "
                       "alignment is never exact")
    return input_dropout, reasons
