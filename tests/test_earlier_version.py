"""What version 0.1 wrote is still read: `fixtures/version_0_1.zip` is a small home that it filled.

It holds ten cases of 12x12x12 voxels with an optional channel and a table, two configurations of five folds, their choice
(a pair, the largest component, a rule of quality control), the masks of two cases, and a training that was stopped after its
first epoch (planner `stopped`), with the losses that version 0.1 reached when it went on.
"""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from autoseg import pipeline
from autoseg.cli import predict as predict_command
from autoseg.formats import read_label
from autoseg.workspace.files import read_model, read_records
from planners.schema.fingerprint import Fingerprint

ARCHIVE = Path(__file__).parent / "fixtures" / "version_0_1.zip"
MOST_DIFFERENT = 0.02  # share of the voxels: processors with bf16 compute less precisely than the one that made the masks


@pytest.fixture(scope="module")
def earlier(tmp_path_factory) -> Path:
    home = tmp_path_factory.mktemp("home")
    with zipfile.ZipFile(ARCHIVE) as archive:
        archive.extractall(home)
    return home


def contents(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in folder.rglob("*") if path.is_file()}


def test_its_fingerprint_is_measured_again_for_the_ceilings_and_its_prepared_cases_are_kept(earlier):
    path = earlier / "prepared" / "Dataset001_Spheres" / "fingerprint.json"
    before, written = contents(earlier / "prepared"), read_model(path, Fingerprint)
    measured = pipeline.fingerprint(1, home=earlier, workers=1)
    pipeline.preprocess(1, home=earlier, workers=1)
    after = contents(earlier / "prepared")
    assert {name for name in before if after[name] != before[name]} == {path.relative_to(earlier / "prepared").as_posix()}
    new = {"ceilings": (), "label_stats": written.label_stats, "orientation": ""}
    assert measured.ceilings and measured.model_copy(update=new) == written
    pipeline.fingerprint(1, home=earlier, workers=1)
    assert contents(earlier / "prepared") == after


def test_its_stopped_training_goes_on_to_the_same_losses(earlier):
    pipeline.train(1, "3d_fullres", 0, planner="stopped", home=earlier, device="cpu")
    records = read_records(earlier / "models" / "Dataset001_Spheres" / "stopped" / "3d_fullres" / "fold_0" / "metrics.jsonl")
    expected = json.loads((earlier / "expected_losses.json").read_text(encoding="utf-8"))
    assert [record["train_loss"] for record in records] == pytest.approx(expected, rel=1e-2)


def test_its_choice_predicts_the_same_masks(earlier, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    raw = earlier / "raw" / "Dataset001_Spheres"
    for path in (*(raw / "imagesTr").glob("ball_0[01]_*"), raw / "clinical.csv"):
        shutil.copy(path, images)
    assert predict_command.main(["-i", str(images), "-o", str(tmp_path / "masks"), "--home", str(earlier), "-d", "1"]) == 0
    for name in ("ball_00.nii.gz", "ball_01.nii.gz"):
        then, _ = read_label(earlier / "masks" / name)
        now, _ = read_label(tmp_path / "masks" / name)
        assert then.any() and np.mean(then != now) < MOST_DIFFERENT
    then = json.loads((earlier / "masks" / "quality.json").read_text(encoding="utf-8"))
    now = json.loads((tmp_path / "masks" / "quality.json").read_text(encoding="utf-8"))
    assert [case["predicted_dice"] for case in now["cases"]] == pytest.approx(
        [case["predicted_dice"] for case in then["cases"]], abs=0.05)


def test_masks_are_added_to_its_quality_report(earlier, tmp_path):
    masks, images = tmp_path / "masks", tmp_path / "images"
    shutil.copytree(earlier / "masks", masks)
    images.mkdir()
    shutil.copy(earlier / "raw" / "Dataset001_Spheres" / "imagesTr" / "ball_03_0000.nii.gz", images)
    assert predict_command.main(["-i", str(images), "-o", str(masks), "--home", str(earlier), "-d", "1"]) == 0
    report = json.loads((masks / "quality.json").read_text(encoding="utf-8"))
    assert [case["name"] for case in report["cases"]] == ["ball_00", "ball_01", "ball_03"]


def test_its_models_are_reported_and_chosen_among_again(earlier):
    pytest.importorskip("jinja2")
    assert "3d_fullres" in pipeline.report(1, home=earlier).read_text(encoding="utf-8")
    before = json.loads((earlier / "models" / "Dataset001_Spheres" / "inference.json").read_text(encoding="utf-8"))
    chosen = pipeline.find_best(1, home=earlier, workers=1).inference
    assert [member.configuration for member in chosen.members] == [one["configuration"] for one in before["members"]]
