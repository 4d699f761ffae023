"""Embeddings of different networks are compared by angles between cases, which no change of the axes touches."""

import numpy as np
import pytest
import torch

from autoseg.base.runtime import Runtime
from autoseg.nn.model import build_model
from autoseg.outcome.embed import CROP, embedding, lesion_crop, lesion_on_grid, relative
from autoseg.outcome.features import Anchors, relative_embedding
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.models import FoldModel
from predict_phantoms import CASE, member_of
from tests_support import small_plan

RNG = np.random.default_rng(3)
ANCHORS = RNG.normal(size=(6, 10))
CASES = RNG.normal(size=(4, 10))


def turned(values: np.ndarray) -> np.ndarray:
    """The same in a space whose channels have another order, sign and scale: another training of the same network."""
    rng = np.random.default_rng(5)
    return values[:, rng.permutation(10)] * rng.choice([-1.0, 1.0], 10) * rng.uniform(0.1, 10, 10) + rng.normal(size=10)


def test_another_order_sign_scale_and_offset_of_the_channels_change_nothing():
    for case, other in zip(CASES, turned(CASES), strict=True):
        assert relative(other, turned(ANCHORS)) == pytest.approx(relative(case, ANCHORS))


def test_a_case_is_most_like_itself():
    for k, anchor in enumerate(ANCHORS):
        found = relative(anchor, ANCHORS)
        assert found[k] == pytest.approx(1) and found.argmax() == k


def test_an_anchor_is_not_compared_with_itself_and_a_missing_lesion_is_missing():
    anchors = Anchors(("a", "b", "c"), RNG.normal(size=(3, 8)))
    found = relative_embedding("b", np.concatenate([RNG.normal(size=4), np.full(4, np.nan)]), anchors)
    assert np.isnan(found).tolist() == [False, True, False, True, True, True]


def test_an_anchor_whose_lesion_is_lost_is_left_out_of_the_others_scale():
    lost = ANCHORS.copy()
    lost[2] = np.nan
    found, others = relative(CASES[0], lost), relative(CASES[0], np.delete(ANCHORS, 2, 0))
    assert np.isnan(found[2]) and np.delete(found, 2) == pytest.approx(others)


def test_channels_that_are_the_same_in_all_anchors_say_nothing():
    anchors = np.c_[ANCHORS, np.full(6, 7.0)]
    assert relative(np.r_[CASES[0], 99.0], anchors) == pytest.approx(relative(CASES[0], ANCHORS))


@pytest.fixture(scope="module")
def prepared():
    member = member_of()
    return member, member.prepare(CASE)


def test_the_embedding_is_the_mean_of_the_bottleneck_and_its_mean_in_the_lesion(prepared):
    member, case = prepared
    lesion = lesion_on_grid(case, CASE.label_DHW > 0, member.configuration)
    found = embedding(member.models[0], case, lesion, member.plan, member.configuration, member.runtime)
    assert found.shape == (2 * 16,) and np.isfinite(found).all() and not np.allclose(found[:16], found[16:])
    everywhere = embedding(member.models[0], case, np.ones_like(lesion), member.plan, member.configuration, member.runtime)
    inside = case.shape[0] >= 16  # nothing is padded there, so that both means are over the same places
    assert inside and everywhere[16:] == pytest.approx(everywhere[:16], rel=1e-4)


def test_without_a_lesion_its_part_is_not_known(prepared):
    member, case = prepared
    nothing = np.zeros(case.shape, bool)
    found = embedding(member.models[0], case, nothing, member.plan, member.configuration, member.runtime)
    assert np.isfinite(found[:16]).all() and np.isnan(found[16:]).all()
    assert np.isnan(lesion_crop(case, nothing)).all()


def test_the_crop_is_an_image_of_fixed_size_around_the_lesion(prepared):
    member, case = prepared
    lesion = lesion_on_grid(case, CASE.label_DHW > 0, member.configuration)
    crop = lesion_crop(case, lesion)
    centre = crop[0][tuple(slice(n // 2 - 3, n // 2 + 3) for n in CROP)]
    assert crop.shape == (1, *CROP) and centre.mean() > crop.mean() + 0.5


def test_the_encoder_gives_what_decoding_starts_from(prepared):
    member, _ = prepared
    model, image = member.models[0].model, torch.randn(1, 1, 16, 16, 16)
    with torch.inference_mode():
        again = model.network.decode(model.encode(image), every_stage=False)[0]
        assert torch.equal(again, model(image))


def test_a_case_of_slices_is_embedded_slice_by_slice():
    plan = small_plan(2, mirror_axes=())
    runtime = Runtime(torch.device("cpu"), torch.float32)
    model = FoldModel(build_model(plan, plan.configurations["2d"]).eval())
    member = ConfigurationModel(plan, "2d", [model], runtime)
    case = member.prepare(CASE)
    lesion = lesion_on_grid(case, CASE.label_DHW > 0, member.configuration)
    found = embedding(model, case, lesion, plan, member.configuration, runtime)
    assert found.shape == (32,) and np.isfinite(found).all()
