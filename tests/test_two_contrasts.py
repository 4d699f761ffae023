"""One model for two contrasts, through the console commands: each case has one modality in the only channel."""

import json
import re
import shutil

import numpy as np
import pytest

from autoseg import pipeline
from autoseg.cli import plan_and_preprocess, predict, train, verify
from autoseg.datasets.dataset import Dataset
from autoseg.formats import read_label, write_array, write_label
from autoseg.preprocessing.store import open_prepared
from autoseg.workspace.files import write_json
from planners.schema.plan import Plan
from tests_support import SPHERES, sphere_case

DATASET = "Dataset007_Contrasts"
TINY = ["--set", "schedule.iterations=4", "--set", "schedule.iterations_per_epoch=2",
        "--set", "architecture.features=[4, 8]", "--set", "architecture.strides=[[1,1,1],[2,2,2]]",
        "--set", "architecture.kernel_sizes=[[3,3,3],[3,3,3]]", "--set", "architecture.blocks_encoder=[1,1]",
        "--set", "architecture.convs_decoder=[1]", "--set", "patch=[16,16,16]", "--set", "architecture.encoder=plain",
        "--set", "batch=2"]


def contrast(index):
    """A sphere that is bright in Hounsfield units (even numbers), or dark in the arbitrary unit of a coil."""
    case = sphere_case(f"ball_{index:02}", index)
    values = case.image_CDHW * 50 if index % 2 == 0 else (400 + 100 * index) - 60 * case.image_CDHW
    return case, values.astype(np.float32), "CT" if index % 2 == 0 else "MR T1w"


def started(home):
    """Verify, plan and train fold 0 for a moment."""
    common = ["--home", str(home), "--device", "cpu"]
    assert verify.main(["-d", "7", "--home", str(home), "--workers", "1"]) == 0
    assert plan_and_preprocess.main(["-d", "7", "-c", "3d_fullres", "--budget", "60s", "--workers", "1", *common]) == 0
    assert train.main(["7", "3d_fullres", "0", *TINY, *common]) == 0
    return home


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A workspace with six cases of two contrasts, and fold 0 trained for a moment; two more cases to predict."""
    home = tmp_path_factory.mktemp("home")
    folder = home / "raw" / DATASET
    rows = {"imagesTr": ["case,modality"], "imagesTs": ["case,modality"]}
    for index in range(8):
        case, values, modality = contrast(index)
        images = "imagesTr" if index < 6 else "imagesTs"
        write_array(folder / images / f"{case.name}_0000.nii.gz", values, case.geometry)
        rows[images].append(f"{case.name},{modality}")
        if index < 6:
            write_label(folder / "labelsTr" / f"{case.name}.nii.gz", case.label_DHW, case.geometry)
    (folder / "clinical.csv").write_text("\n".join(rows["imagesTr"]) + "\n")
    (folder / "imagesTs" / "clinical.csv").write_text("\n".join(rows["imagesTs"]) + "\n")
    write_json(folder / "dataset.json", {
        "channel_names": {"0": "image"}, "labels": {name: values[0] for name, values in SPHERES.names.items()},
        "file_ending": ".nii.gz", "modality_column": "modality",
        "conditions": {"table": "clinical.csv", "columns": {"modality": {"kind": "category"}}}})
    return started(home)


def read_plan(home):
    return Plan.model_validate_json((home / "prepared" / DATASET / "plan_budgeted.json").read_text())


def predicted(home, source, target, *more):
    """The exit status, and the label maps by case."""
    status = predict.main(["-i", str(source), "-o", str(target), "--home", str(home), "--device", "cpu", *more])
    return status, {path.name.partition(".")[0]: read_label(path)[0] for path in sorted(target.glob("*.nii.gz"))}


def test_the_plan_holds_a_normaliser_and_statistics_for_each_modality(home):
    plan = read_plan(home)
    (normalizer,) = plan.configurations["3d_fullres"].normalizers
    assert {key: part["name"] for key, part in normalizer.options["parts"].items()} == {"ct": "ct", "mr": "zscore"}
    fingerprint = json.loads((home / "prepared" / DATASET / "fingerprint.json").read_text())
    assert normalizer.options["intensities"] == fingerprint["intensities_of_modalities"][0]
    assert normalizer.options["intensities"]["ct"]["max"] < 400 < normalizer.options["intensities"]["mr"]["max"]
    assert any("has the modality that the column 'modality' says: normalised ct by ct, mr by zscore" in reason
               for reason in plan.reasons)


def test_the_report_shows_each_modality_of_the_channel(home):
    pytest.importorskip("jinja2")
    text = pipeline.report(7, output=home / "report.html", home=home).read_text()
    assert "image: ct ct / mr zscore" in text
    assert [len(re.findall(rf"<td[^>]*>{modality}</td>", text)) for modality in ("ct", "mr", "other")] == [1, 1, 0]


def test_prepared_cases_are_normalised_by_their_own_modality(home):
    plan = read_plan(home)
    stats = plan.configurations["3d_fullres"].normalizers[0].options["intensities"]["ct"]
    for index in range(6):
        _, values, modality = contrast(index)
        prepared = open_prepared(home / "prepared" / DATASET / "budgeted_3d_fullres", f"ball_{index:02}")
        expected = (values - values.mean()) / values.std()
        if modality == "CT":
            expected = (np.clip(values, stats["percentile_00_5"], stats["percentile_99_5"]) - stats["mean"]) / stats["std"]
        np.testing.assert_allclose(np.asarray(prepared.image_CDHW[:]), expected, atol=2e-3)


def test_the_table_or_what_is_said_gives_the_same_masks(home, tmp_path):
    images = home / "raw" / DATASET / "imagesTs"
    status, masks = predicted(home, images, tmp_path / "both")
    assert status == 0 and set(masks) == {"ball_06", "ball_07"}
    for case, said in (("ball_06", "CT"), ("ball_07", "mri")):
        alone = tmp_path / case
        alone.mkdir()
        shutil.copy(images / f"{case}_0000.nii.gz", alone)
        status, masks_alone = predicted(home, alone, tmp_path / f"{case}_masks", "--modality", said)
        assert status == 0
        np.testing.assert_array_equal(masks_alone[case], masks[case])


def test_without_a_modality_a_prediction_says_what_to_do(home, tmp_path, capsys):
    images = tmp_path / "images"
    shutil.copytree(home / "raw" / DATASET / "imagesTs", images)
    (images / "clinical.csv").unlink()
    assert predicted(home, images, tmp_path / "masks") == (2, {})
    assert "say it with --modality" in capsys.readouterr().err
    assert predicted(home, images, tmp_path / "masks", "--modality", "PET") == (2, {})
    assert "found: PET; expected: CT, MR" in capsys.readouterr().err


def test_random_contrast_is_refused_where_one_of_the_modalities_is_ct(home, capsys):
    assert train.main(["7", "3d_fullres", "1", *TINY, "--appearance", "gin", "--home", str(home), "--device", "cpu"]) == 2
    assert "gin changes the contrast of channels whose unit is absolute" in capsys.readouterr().err


def test_a_case_whose_modality_was_corrected_is_not_trained_as_it_was_prepared(home, tmp_path, capsys):
    folder = tmp_path / "home"
    shutil.copytree(home, folder)
    table = folder / "raw" / DATASET / "clinical.csv"
    table.write_text(table.read_text().replace("ball_00,CT", "ball_00,MR"))
    common = ["--home", str(folder), "--device", "cpu"]
    assert Dataset.open(table.parent).cases[0].modalities == ("mr",)
    assert train.main(["7", "3d_fullres", "1", *TINY, *common]) == 2
    assert "modalities of 1 case (ball_00)" in capsys.readouterr().err


def test_two_optional_channels_of_which_each_case_has_one_are_the_other_way(tmp_path):
    folder = tmp_path / "raw" / DATASET
    for index in range(8):
        case, values, _ = contrast(index)
        images = "imagesTr" if index < 6 else "imagesTs"
        write_array(folder / images / f"{case.name}_{index % 2:04}.nii.gz", values, case.geometry)
        if index < 6:
            write_label(folder / "labelsTr" / f"{case.name}.nii.gz", case.label_DHW, case.geometry)
    write_json(folder / "dataset.json", {
        "channel_names": {"0": "CT", "1": "MR_T1w"}, "labels": {name: values[0] for name, values in SPHERES.names.items()},
        "file_ending": ".nii.gz", "optional_channels": ["CT", "MR_T1w"]})
    plan = read_plan(started(tmp_path))
    assert [part.name for part in plan.configurations["3d_fullres"].normalizers] == ["ct", "zscore"]
    assert plan.configurations["3d_fullres"].input_dropout.channels == (0.3, 0.3)
    status, masks = predicted(tmp_path, folder / "imagesTs", tmp_path / "masks")
    assert status == 0 and set(masks) == {"ball_06", "ball_07"}
