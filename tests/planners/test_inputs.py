"""Which normaliser each channel gets, and why."""

import pytest

from planners.rules.inputs import InputPlan, input_plan, normalizers_for
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionStats, ConditionTable
from planners.schema.fingerprint import CaseMeasure, Fingerprint, IntensityStats
from planners.schema.labels import LabelSpec
from planners.schema.plan import InputDropout


def names(channels: list[str], kept: float = 1.0) -> list[str]:
    return [part.name for part in normalizers_for([ChannelSpec(name=name) for name in channels], kept)]


@pytest.mark.parametrize(("channel", "normalizer"), [
    ("CT", "ct"), ("ct venous", "ct"), ("T1w", "zscore"), ("PET", "zscore"), ("anything", "zscore"),
    ("noNorm", "none"), ("rescale_to_0_1", "rescale01"), ("rgb_to_0_1", "rgb"), ("zscore", "zscore")])
def test_normaliser_follows_the_modality(channel, normalizer):
    assert names([channel]) == [normalizer]


def test_scores_are_masked_where_the_crop_keeps_less_than_three_quarters():
    assert names(["T1", "CT"], 0.7499) == ["zscore_masked", "ct"]
    assert names(["T1", "CT"], 0.75) == ["zscore", "ct"]


def fingerprint(channels, kept=(1.0,), **more) -> Fingerprint:
    cases = tuple(CaseMeasure(case=str(i), shape=(9, 9, 9), spacing_mm=(1, 1, 1), relative_size=share)
                  for i, share in enumerate(kept))
    return Fingerprint(dataset="D", channels=channels, labels=LabelSpec(names={"background": (0,)}), cases=cases, **more)


def conditioned(*conditions: tuple[str, str, float, int]) -> InputPlan:
    """The plan for conditions of (name, kind, share of cases that lack it, distinct values)."""
    specs = tuple(ConditionSpec(name=name, kind=kind) for name, kind, _, _ in conditions)
    stats = tuple(ConditionStats(name=name, missing=missing, distinct=distinct) for name, _, missing, distinct in conditions)
    return input_plan(fingerprint((ChannelSpec(name="CT"),), conditions=ConditionTable(specs=specs), condition_stats=stats))


def test_median_case_decides_on_the_mask():
    channels = (ChannelSpec(name="T2"),)
    assert input_plan(fingerprint(channels, (0.1, 0.8, 0.9))).normalizers[0].name == "zscore"
    masked = input_plan(fingerprint(channels, (0.1, 0.2, 0.9)))
    assert masked.normalizers[0].name == "zscore_masked"
    assert any("20%" in reason for reason in masked.reasons)


def test_images_of_every_case_are_concatenated_and_nothing_is_hidden():
    plan = input_plan(fingerprint((ChannelSpec(name="CT"), ChannelSpec(name="MR"))))
    assert (plan.fusion.name, plan.conditioning.name, plan.input_dropout) == ("concat", "none", InputDropout())


def test_optional_channels_are_hidden_in_training_and_required_ones_never():
    plan = input_plan(fingerprint((ChannelSpec(name="CT"), ChannelSpec(name="MR", required=False))))
    assert plan.input_dropout.channels == (0.0, 0.3)
    assert any("MR hidden in 30% of the samples" in reason for reason in plan.reasons)


def test_channels_that_were_moved_to_the_reference_grid_are_displaced_in_training():
    channels = (ChannelSpec(name="CT", reference=True), ChannelSpec(name="MR", registration="rigid"))
    plan = input_plan(fingerprint(channels, coverage=(1.0, 0.57)))
    assert plan.input_dropout.shift_voxels == (0.0, 1.0)
    assert any("'MR' is registered (rigid) to the grid of CT, of which it covers 57%" in reason for reason in plan.reasons)


def test_columns_condition_by_film_and_token_bags_by_attention():
    assert conditioned(("age", "number", 0.1, 30)).conditioning.name == "film"
    assert conditioned(("age", "number", 0.1, 30), ("tiles", "tokens", 0.5, 0)).conditioning.name == "tokens"
    assert conditioned(("rna", "vector", 0.0, 0)).input_dropout == InputDropout(row=0.3, column=0.15)


@pytest.mark.parametrize(("kind", "missing", "distinct", "swapped"), [
    ("category", 0.0, 2, False), ("category", 0.0, 3, True), ("number", 0.1, 30, False), ("category", 0.0, 5, False),
    ("category", 0.1, 5, True), ("ordinal", 0.0, 3, True), ("tokens", 0.0, 0, False)])
def test_categories_that_few_patients_share_are_swapped(kind, missing, distinct, swapped):
    n_cases = 100 if distinct == 5 else 26
    spec = ConditionSpec(name="x", kind=kind)
    plan = input_plan(fingerprint((ChannelSpec(name="CT"),), kept=(1.0,) * n_cases, conditions=ConditionTable(specs=(spec,)),
                                  condition_stats=(ConditionStats(name="x", missing=missing, distinct=distinct),)))
    assert (plan.input_dropout.swap, plan.input_dropout.p_swap) == ((("x",), 0.5) if swapped else ((), 0.0))
    assert any("x are another patient's in 50% of the samples" in reason for reason in plan.reasons) == swapped


def test_what_teaches_nothing_and_what_says_the_modality_are_not_swapped():
    conditions = {"conditions": ConditionTable(specs=tuple(ConditionSpec(name=name, kind="category")
                                                            for name in ("type", "lost", "scan"))),
                  "condition_stats": tuple(ConditionStats(name=name, missing=missing, distinct=4)
                                           for name, missing in (("type", 0.0), ("lost", 0.97), ("scan", 0.0)))}
    plan = input_plan(fingerprint((ChannelSpec(name="CT"),), kept=(1.0,) * 9, modality_columns={"CT": "scan"}, **conditions))
    assert plan.input_dropout.swap == ("type",)


@pytest.mark.parametrize("condition", [("age", "number", 0.97, 3), ("sex", "category", 0.0, 1)])
def test_a_column_that_most_lack_or_that_never_varies_conditions_nothing(condition):
    plan = conditioned(condition)
    assert (plan.conditioning.name, plan.input_dropout) == ("none", InputDropout())
    assert any("can teach nothing" in reason for reason in plan.reasons)


def test_a_channel_of_several_modalities_has_a_normaliser_for_each():
    stats = {name: IntensityStats(mean=mean, std=1, min=0, max=9, median=5, percentile_00_5=0, percentile_99_5=9)
             for name, mean in (("ct", 40), ("mr", 300))}
    plan = input_plan(fingerprint((ChannelSpec(name="image"), ChannelSpec(name="PET")), (0.2,),
                                  intensities_of_modalities=(stats, {}), modality_columns={"image": "kind"}))
    mixed, pet = plan.normalizers
    assert {name: part["name"] for name, part in mixed.options["parts"].items()} == {"ct": "ct", "mr": "zscore_masked"}
    assert mixed.options["intensities"]["mr"]["mean"] == 300 and pet.name == "zscore_masked"
    assert "channel 'image' has the modality that the column 'kind' says: normalised ct by ct, mr by zscore_masked" \
        in plan.reasons
