"""Preprocessing in the course of preparing a case: all channels together, and never what is not there."""

import logging

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.datasets.case import Case
from autoseg.datasets.preprocessors import PREPROCESSORS, PreprocessorContext, check_preprocessor
from autoseg.datasets.stain import StainOptions, macenko
from autoseg.grids.geometry import Geometry
from autoseg.preprocessing.prepare import prepare
from autoseg.preprocessing.run import recipe_digest
from planners.schema.base import Part
from planners.schema.channels import ChannelSpec
from planners.schema.plan import Configuration
from preprocess_plans import tiny_plan
from stained_tiles import flat, random_amounts, random_stains, stained

RGB = tuple(ChannelSpec(name="rgb_to_0_1") for _ in range(3))
SIDE = 40


def plan(preprocess="macenko", **options):
    made = tiny_plan((1.0, 1.0), normalizers=("rgb", "rgb", "rgb"))
    tiny = made.configurations["tiny"].model_copy(update={"preprocess": Part(name=preprocess, options=options)})
    return made.model_copy(update={"channels": RGB, "configurations": {"tiny": tiny}})


def picture(seed=0):
    rng = np.random.default_rng(seed)
    return flat(stained(random_amounts(rng, SIDE), random_stains(rng))).reshape(3, 1, SIDE, SIDE)


def prepared(image, planned, absent=None, present=(True, True, True)):
    case = Case("slide_7", image, np.array(present), Geometry(image.shape[1:], (1.0, 1.0, 1.0)), absent_CDHW=absent)
    return prepare(case, planned, planned.configurations["tiny"]).image_CDHW


def test_a_picture_is_prepared_with_the_reference_stains_and_the_case_is_left_unchanged():
    image = picture()
    kept = image.copy()
    out = prepared(image, plan())
    expected = macenko(image.reshape(3, -1), StainOptions())[0].reshape(image.shape) / 255
    np.testing.assert_allclose(out, expected, atol=1e-5)
    assert np.array_equal(image, kept)


def test_options_of_the_plan_reach_the_stains():
    assert not np.allclose(prepared(picture(), plan()), prepared(picture(), plan(strongest=[1.0, 1.0])))


def test_a_blank_picture_stays_as_it_is_with_a_warning_that_names_the_case(caplog):
    image = np.full((3, 1, SIDE, SIDE), 241, np.float32)
    with caplog.at_level(logging.WARNING):
        out = prepared(image, plan())
    assert np.allclose(out, 241 / 255)
    assert "slide_7" in caplog.text and "blank" in caplog.text


def test_a_border_of_zeros_stays_zero_changes_nothing_and_is_cropped_as_before():
    image = picture()
    framed = np.pad(image, ((0, 0), (0, 0), (5, 9), (3, 2)))
    assert np.array_equal(prepared(framed, plan()), prepared(image, plan()))


def test_absent_voxels_are_not_read():
    image = picture()
    absent = np.zeros(image.shape, dtype=bool)
    absent[1, :, :10] = True
    expected = prepared(image, plan(), absent)
    for garbage in (0, 255, np.nan):
        assert np.array_equal(prepared(np.where(absent, np.float32(garbage), image), plan(), absent), expected)


def test_a_case_that_lacks_a_channel_stays_as_it_is_with_a_warning(caplog):
    image, present = picture(), (True, True, False)
    with caplog.at_level(logging.WARNING):
        out = prepared(image, plan(), present=present)
    assert np.array_equal(out, prepared(image, plan("none"), present=present))
    assert "a channel is missing" in caplog.text


def test_values_of_more_than_8_bits_are_refused():
    with pytest.raises(UserError, match="8 bits"):
        prepared(picture() * 200, plan())


def test_a_plan_that_lacks_the_colours_is_refused():
    with pytest.raises(UserError, match="3 channels of modality rgb"):
        check_preprocessor(Part(name="macenko"), (ChannelSpec(name="CT"),), "a plan")


def test_the_recipe_changes_only_where_something_is_preprocessed():
    base, tiny = plan("none"), plan("none").configurations["tiny"]
    earlier = Configuration.model_validate({key: value for key, value in tiny.model_dump(mode="json").items()
                                            if key != "preprocess"})
    assert recipe_digest(base, tiny) == recipe_digest(base, earlier)
    digests = {recipe_digest(base, planned.configurations["tiny"]) for planned in (base, plan(), plan(light=245))}
    assert len(digests) == 3


@pytest.mark.parametrize("name", PREPROCESSORS.names())
def test_every_preprocessor_keeps_its_input_and_does_not_mind_the_order_of_voxels(name):
    image_CN = picture(1).reshape(3, -1)
    kept, order = image_CN.copy(), np.random.default_rng(0).permutation(image_CN.shape[1])
    change = PREPROCESSORS.make(Part(name=name), PreprocessorContext(RGB))
    out, _ = change(image_CN)
    assert out.shape == image_CN.shape and np.array_equal(image_CN, kept)
    np.testing.assert_allclose(change(image_CN[:, order])[0], out[:, order], atol=0.02)
