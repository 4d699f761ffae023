"""Damage of our own files: a small seeded sample of benchmarks/damaged_artefacts.py, and the rules of decision 0033."""

import json
import random
import shutil

import pytest

import damaged_artefacts
from autoseg.base.errors import UserError
from autoseg.prediction.inference_settings import InferenceSettings
from autoseg.workspace.files import FILE_DIGEST, append_record, read_json, read_model, read_records, write_json
from autoseg.workspace.names import Workspace
from damage_parts.artefacts import ARTEFACTS
from damage_parts.child import FAULTS
from damage_parts.workspace import DATASET, write_workspace
from planners.schema.plan import Plan
from tests_support import small_plan


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Workspace:
    return write_workspace(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def workspace(whole, tmp_path) -> Workspace:
    shutil.copytree(whole.home, tmp_path / "home")
    return Workspace(tmp_path / "home")


@pytest.mark.parametrize("kind", ARTEFACTS)
def test_a_damaged_file_of_ours_is_refused_repaired_or_named(workspace, kind):
    judge = damaged_artefacts.judge_of(kind, workspace)
    outcomes = [judge(random.Random(f"1 {kind} {index}")) for index in range(4)]
    assert not [text for outcome, text in outcomes if outcome in FAULTS]


def test_a_changed_value_is_refused_with_what_makes_the_file_again(workspace):
    path = workspace.inference_settings(DATASET)
    path.write_text(path.read_text().replace('"slope": 0.8', '"slope": 0.9'))
    with pytest.raises(UserError, match=r"inference.json.*damaged, or edited.*autoseg_find_best_configuration.*file_digest"):
        read_model(path, InferenceSettings)


def test_an_edit_is_accepted_by_removing_the_digest(workspace):
    path = workspace.inference_settings(DATASET)
    edited = json.loads(path.read_text())
    del edited[FILE_DIGEST]
    edited["quality_control"]["slope"] = 0.9
    path.write_text(json.dumps(edited))
    assert read_model(path, InferenceSettings).quality_control.slope == 0.9


def test_an_edited_plan_is_used_with_a_warning(tmp_path, caplog):
    path = tmp_path / "plan_mine.json"
    write_json(path, small_plan())
    path.write_text(path.read_text().replace('"batch": 2', '"batch": 3'))
    assert read_model(path, Plan).configurations["3d_fullres"].batch == 3
    assert "plan_mine.json is not as autoseg wrote it" in caplog.text


def test_another_layout_of_the_same_values_is_no_damage(tmp_path, caplog):
    write_json(tmp_path / "plan.json", small_plan())
    (tmp_path / "plan.json").write_text(json.dumps(json.loads((tmp_path / "plan.json").read_text()), sort_keys=True))
    assert read_model(tmp_path / "plan.json", Plan) == small_plan()
    assert caplog.text == ""


def test_lists_and_plain_data_have_no_digest(tmp_path):
    write_json(tmp_path / "dataset.json", {"labels": {}})
    assert json.loads((tmp_path / "dataset.json").read_text()) == {"labels": {}}


def test_a_record_with_a_changed_digit_is_left_out_and_named(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    for epoch in range(3):
        append_record(path, {"epoch": epoch, "train_loss": 0.5})
    path.write_text(path.read_text().replace('"epoch": 1', '"epoch": 9'))
    assert read_records(path) == [{"epoch": 0, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.5}]
    assert "metrics.jsonl: 1 damaged line is left out" in caplog.text


def test_files_without_a_digest_are_believed(tmp_path):
    (tmp_path / "schedule.json").write_text('{"iterations": 5}')
    assert read_json(tmp_path / "schedule.json") == {"iterations": 5}
