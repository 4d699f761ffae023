"""Which normaliser each channel gets, and why."""

import pytest

from planners.fingerprint import CaseMeasure, ChannelSpec, Fingerprint, LabelSpec
from planners.inputs import input_plan, normalizers_for


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


def fingerprint(channels, kept=(1.0,)) -> Fingerprint:
    cases = tuple(CaseMeasure(case=str(i), shape=(9, 9, 9), spacing_mm=(1, 1, 1), relative_size=share)
                  for i, share in enumerate(kept))
    return Fingerprint(dataset="D", channels=channels, labels=LabelSpec(names={"background": (0,)}), cases=cases)


def test_median_case_decides_on_the_mask():
    channels = (ChannelSpec(name="T2"),)
    assert input_plan(fingerprint(channels, (0.1, 0.8, 0.9))).normalizers[0].name == "zscore"
    masked = input_plan(fingerprint(channels, (0.1, 0.2, 0.9)))
    assert masked.normalizers[0].name == "zscore_masked"
    assert any("20%" in reason for reason in masked.reasons)


def test_images_are_concatenated_and_nothing_conditions_by_default():
    plan = input_plan(fingerprint((ChannelSpec(name="CT"), ChannelSpec(name="MR", required=False))))
    assert (plan.fusion.name, plan.conditioning.name) == ("concat", "none")
    assert any("may lack MR" in reason for reason in plan.reasons)
