"""Models that take some of the channels of a dataset, alone and together."""

from dataclasses import replace

import numpy as np
import pytest

from autoseg.base.errors import UserError
from autoseg.formats import write_array
from autoseg.grids.geometry import Geometry
from autoseg.prediction.inference_settings import QualityControl
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.predictor import Predictor
from planners.schema.channels import ChannelSpec
from predict_phantoms import CASE, member_of

RULE = QualityControl(temperature=1.0, intercept=0.0, slope=1.0, review_below=0.5, correlation=0.7, n=12)
NOISE = np.random.default_rng(0).normal(0, 1, CASE.image_CDHW.shape).astype(np.float32)
BOTH = replace(CASE, image_CDHW=np.concatenate([CASE.image_CDHW, NOISE]), present_C=np.array([True, True]))


def taking(number, name, seed, required=True):
    """A model of one channel, by its number in the dataset."""
    member = member_of(seed)
    plan = member.plan.model_copy(update={"channels": (ChannelSpec(name=name, required=required),),
                                          "channel_numbers": (number,)})
    return ConfigurationModel(plan, member.name, member.models, member.runtime)


def alone(member, image_CDHW):
    case = replace(CASE, image_CDHW=image_CDHW, present_C=np.array([True]))
    return Predictor([member]).predict(case, probabilities=True).probabilities_KDHW.astype(np.float32)


def test_each_model_sees_its_own_channels():
    ct, mr = taking(0, "CT", 1), taking(2, "MR", 2)
    predictor = Predictor([mr, ct])
    assert [channel.name for channel in predictor.plan.channels] == ["CT", "MR"] and predictor.plan.numbers == (0, 2)
    together = predictor.predict(BOTH, probabilities=True).probabilities_KDHW
    mean = (alone(ct, CASE.image_CDHW) + alone(mr, NOISE)) / 2
    np.testing.assert_allclose(together, mean, atol=2e-3)


def test_a_model_of_which_a_case_has_no_image_is_left_out(caplog):
    ct, mr = taking(0, "CT", 1), taking(2, "MR", 2, required=False)
    lacking = replace(BOTH, image_CDHW=np.concatenate([CASE.image_CDHW, np.zeros_like(NOISE)]),
                      present_C=np.array([True, False]))
    prediction = Predictor([ct, mr], quality_control=RULE).predict(lacking, probabilities=True, uncertainty=True)
    np.testing.assert_allclose(prediction.probabilities_KDHW, alone(ct, CASE.image_CDHW), atol=2e-3)
    only = replace(CASE, present_C=np.array([True]))
    expected = Predictor([ct], quality_control=RULE).predict(only, uncertainty=True)
    np.testing.assert_allclose(prediction.disagreement_DHW, expected.disagreement_DHW, atol=1e-3)
    assert prediction.quality.predicted_dice == pytest.approx(expected.quality.predicted_dice, abs=1e-3)
    assert "ball: predicted by 1 of 2 models, since it has no image for the others" in caplog.text


def test_a_channel_that_one_of_them_needs_is_asked_for_by_its_number(tmp_path):
    predictor = Predictor([taking(0, "CT", 1), taking(2, "MR", 2)])
    write_array(tmp_path / "a_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    with pytest.raises(UserError, match=r"channel 2 'MR' is missing(?s:.*)a_0002.nii.gz"):
        predictor.predict_file(tmp_path)


def test_files_of_other_channels_are_not_read(tmp_path):
    (tmp_path / "a_0001.nii.gz").write_bytes(b"nothing that could be read")
    write_array(tmp_path / "a_0002.nii.gz", CASE.image_CDHW, CASE.geometry)
    predictor = Predictor([taking(2, "MR", 2)])
    label_DHW = predictor.predict_file(tmp_path).label_DHW
    np.testing.assert_array_equal(predictor.predict_file(tmp_path / "a_0002.nii.gz").label_DHW, label_DHW)


def test_the_first_channel_alone_does_not_take_another_for_it(tmp_path):
    write_array(tmp_path / "a_0001.nii.gz", CASE.image_CDHW, CASE.geometry)
    for path in (tmp_path, tmp_path / "a_0001.nii.gz"):
        with pytest.raises(UserError, match="the case has no image"):
            Predictor([taking(0, "CT", 1)]).predict_file(path)


def test_a_folder_without_any_channel_of_the_model_names_what_is_expected(tmp_path):
    with pytest.raises(UserError, match="names like CASE_0002"):
        Predictor([taking(2, "MR", 2)]).find(tmp_path)
    write_array(tmp_path / "a_0000.nii.gz", CASE.image_CDHW, CASE.geometry)
    with pytest.raises(UserError, match="the case has no image(?s:.*)channels MR"):
        Predictor([taking(2, "MR", 2)]).predict_file(tmp_path)


def test_a_regridded_channel_alone_predicts_on_its_own_grid_or_on_that_of_the_reference_beside_it(tmp_path):
    member = member_of(1)
    spec = ChannelSpec(name="PET", registration="regrid")
    plan = member.plan.model_copy(update={"channels": (spec,), "channel_numbers": (1,), "grid_number": 0})
    predictor = Predictor([ConfigurationModel(plan, member.name, member.models, member.runtime)])
    write_array(tmp_path / "a_0001.nii.gz", CASE.image_CDHW, CASE.geometry)
    alone_DHW = predictor.predict_file(tmp_path).label_DHW
    assert alone_DHW.shape == CASE.geometry.shape
    fine = Geometry((40, 36, 32), (0.5, 0.5, 0.5))
    write_array(tmp_path / "a_0000.nii.gz", np.zeros((1, *fine.shape), np.float32), fine)
    case = predictor.predict_file(tmp_path)
    assert case.label_DHW.shape == fine.shape and case.case.geometry == fine
    assert predictor.predict_file(tmp_path / "a_0001.nii.gz").label_DHW.shape == fine.shape
