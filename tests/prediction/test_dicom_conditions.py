"""What the headers of a study say conditions a model, where no table says it."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch

from autoseg.base.runtime import Runtime
from autoseg.clinical.conditions import CaseConditions
from autoseg.clinical.encoders import fit_encoder
from autoseg.datasets.dicom_cases import DicomInput, scan_studies
from autoseg.datasets.dicom_conditions import cells_of_headers
from autoseg.nn.model import build_model
from autoseg.prediction.folder import predict_folder
from autoseg.prediction.member import ConfigurationModel
from autoseg.prediction.models import FoldModel
from autoseg.prediction.predictor import Predictor
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionTable
from planners.schema.plan import Part
from tests_support import small_plan

pytest.importorskip("pydicom")

from dicom_studies import truth, write_series

TABLE = ConditionTable(table="clinical.csv", specs=(
    ConditionSpec(name="age_years", kind="number"), ConditionSpec(name="sex", kind="category"),
    ConditionSpec(name="weight_kg", kind="number"), ConditionSpec(name="CT_contrast_s", kind="number", transform="log"),
    ConditionSpec(name="CT_manufacturer", kind="category"), ConditionSpec(name="psa", kind="number")))
HEADER = {"PatientAge": "061Y", "PatientSex": "F", "PatientWeight": "72.5", "Manufacturer": "Siemens",
          "ContrastBolusStartTime": "235950", "AcquisitionTime": "000020"}
KNOWN = {"age_years": 61.0, "sex": "F", "weight_kg": 72.5, "CT_contrast_s": 30.0, "CT_manufacturer": "SIEMENS", "psa": None}


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    """A network that has learned nothing, and answers to its conditions."""
    cases = [CaseConditions(values={
        "age_years": 40.0 + n, "sex": "FM"[n % 2], "weight_kg": 60.0 + n, "psa": 1.0 + n, "CT_contrast_s": 20.0 + n,
        "CT_manufacturer": ("SIEMENS", "GE")[n % 2]}) for n in range(6)]
    encoder = fit_encoder(TABLE, cases)
    plan = small_plan(mirror_axes=(), spacing_mm=(1.0,) * 3)
    configuration = plan.configurations["3d_fullres"].model_copy(update={"conditioning": Part(name="film")})
    plan = plan.model_copy(update={"channels": (ChannelSpec(name="CT"),), "conditions": TABLE,
                                   "configurations": {"3d_fullres": configuration}})
    torch.manual_seed(0)
    network = build_model(plan, configuration, encoder.layout).eval()
    with torch.no_grad():
        for parameter in network.parameters():  # conditioners start as the identity
            parameter += 0.1 * torch.randn_like(parameter)
    return Predictor([ConfigurationModel(plan, "3d_fullres", [FoldModel(network, encoder)],
                                         Runtime(torch.device("cpu"), torch.float32))])


def conditions_found(predictor: Predictor, study, table=None):
    (known,) = predictor.find(study, table).conditions.values()
    return known.values


def test_columns_of_the_clinical_table_come_from_the_headers(predictor, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    caplog.set_level(logging.INFO)
    write_series(tmp_path / "study", truth(), patient="Secret", **HEADER)
    assert conditions_found(predictor, tmp_path / "study") == KNOWN
    assert "age_years, sex, weight_kg, CT_contrast_s, CT_manufacturer of the DICOM headers; nothing says psa" in caplog.text
    assert "the columns psa are missing in all cases" in caplog.text
    assert not any(text in caplog.text for text in ("Secret", "061", "72.5", "SIEMENS"))


def test_the_table_goes_before_the_headers(predictor, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("autoseg"), "propagate", True)
    caplog.set_level(logging.INFO)
    write_series(tmp_path / "study", truth(), **HEADER)
    (files,) = predictor.find(tmp_path / "study").files
    (tmp_path / "own.csv").write_text(f"case,age_years,sex,psa\n{files.name},44,,3.5\n")
    assert conditions_found(predictor, tmp_path / "study", tmp_path / "own.csv") == {**KNOWN, "age_years": 44.0, "psa": 3.5}
    assert f"case {files.name}: age_years, psa of the table; sex, weight_kg" in caplog.text


@pytest.mark.parametrize(("header", "column"), [
    ({"PatientAge": "999Y"}, "age_years"), ({"PatientWeight": "-70"}, "weight_kg"),
    ({"PatientWeight": "72500"}, "weight_kg"), ({"PatientSex": "O"}, "sex"),
    ({"AcquisitionTime": "235950"}, "CT_contrast_s"), ({"Manufacturer": ""}, "CT_manufacturer")])
def test_headers_that_cannot_be_true_are_missing(predictor, tmp_path, header, column):
    write_series(tmp_path, truth(), **{**HEADER, **header})
    assert conditions_found(predictor, tmp_path) == {**KNOWN, column: None}


def test_an_impossible_age_gives_way_to_the_dates(predictor, tmp_path):
    write_series(tmp_path, truth(), **{**HEADER, "PatientAge": "999Y", "PatientBirthDate": "19500101"})
    assert conditions_found(predictor, tmp_path)["age_years"] == 70.0


def test_python_and_the_folder_predict_with_the_headers(predictor, tmp_path):
    write_series(tmp_path / "study", truth(), **HEADER)
    write_series(tmp_path / "bare" / "study", truth())
    whole = predictor.predict(tmp_path / "study", True).probabilities.array
    given = predictor.predict(tmp_path / "bare", True, conditions=KNOWN).probabilities.array
    np.testing.assert_array_equal(whole, given)
    assert not np.array_equal(whole, predictor.predict(tmp_path / "bare", True).probabilities.array)
    older = predictor.predict(tmp_path / "study", True, conditions={"age_years": 20}).probabilities.array
    other = predictor.predict(tmp_path / "bare", True, conditions={**KNOWN, "age_years": 20}).probabilities.array
    np.testing.assert_array_equal(older, other)
    assert not np.array_equal(older, whole)
    (mask,) = predict_folder(predictor, tmp_path / "study", tmp_path / "masks")
    assert mask.is_file()


def test_of_fewer_channels_than_the_dataset_has_the_first_image_is_not_known(tmp_path):
    for number, name in enumerate(("arterial", "venous"), 1):
        write_series(tmp_path / name, truth(), series=number, description=name, AcquisitionDate="20200102",
                     AcquisitionTime=f"1000{number}0")
    channels = (ChannelSpec(name="CT_arterial"), ChannelSpec(name="CT_venous"))
    (files,) = scan_studies(DicomInput(tmp_path), channels).cases
    assert cells_of_headers(files, channels)["CT_venous_after_first_s"] == "10"
    assert "CT_venous_after_first_s" not in cells_of_headers(replace(files, numbers=(1, 2)), channels)
