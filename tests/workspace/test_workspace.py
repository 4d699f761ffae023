"""Names, atomic writing and the errors of JSON files."""

import json
import os
import pickle
import sys
import threading

import pytest

from autoseg.base.errors import ManyFaults, UserError
from autoseg.selection.race_types import Race
from autoseg.workspace.files import (
    append_record,
    read_json,
    read_model,
    read_records,
    staged,
    write_atomically,
    write_json,
)
from autoseg.workspace.locks import locked
from autoseg.workspace.names import Workspace
from planners.schema.hardware import Budget


def workspace_with(tmp_path, *names) -> Workspace:
    for name in names:
        (tmp_path / "raw" / name).mkdir(parents=True)
    return Workspace(tmp_path)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "plan.json"
    path.write_text("old")

    def fail(temporary):
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(UserError, match="cannot be written .*disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["plan.json"]


def test_the_temporary_name_keeps_a_double_ending(tmp_path):
    seen = []
    write_atomically(tmp_path / "a.b.nii.gz", lambda temporary: seen.append(temporary.name) or temporary.touch())
    assert seen[0].endswith(".nii.gz")


@pytest.mark.parametrize("key", [4, "4", "004", "Dataset004_Hippocampus", "Hippocampus"])
def test_a_dataset_is_found_by_number_and_name(tmp_path, key):
    assert workspace_with(tmp_path, "Dataset004_Hippocampus", "Dataset040_Other").dataset(key) == "Dataset004_Hippocampus"


def test_an_unknown_dataset_lists_the_known_ones(tmp_path):
    with pytest.raises(UserError, match=r"unknown dataset '7'.*Dataset004_A"):
        workspace_with(tmp_path, "Dataset004_A").dataset(7)


def test_an_ambiguous_number_is_refused(tmp_path):
    with pytest.raises(UserError, match="ambiguous.*Dataset004_A, Dataset004_B"):
        workspace_with(tmp_path, "Dataset004_A", "Dataset004_B").dataset(4)


def test_raw_datasets_are_also_found_where_nnunet_keeps_them(tmp_path, monkeypatch):
    (tmp_path / "theirs" / "Dataset009_Spleen").mkdir(parents=True)
    monkeypatch.setenv("nnUNet_raw", str(tmp_path / "theirs"))
    workspace = Workspace(tmp_path / "ours")
    assert workspace.raw(workspace.dataset(9)) == tmp_path / "theirs" / "Dataset009_Spleen"


def test_no_environment_variable_is_needed(monkeypatch, tmp_path):
    monkeypatch.delenv("AUTOSEG_HOME", raising=False)
    monkeypatch.delenv("nnUNet_raw", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Workspace.open().home == tmp_path / "autoseg"


def test_malformed_json_names_line_and_column(tmp_path):
    (tmp_path / "x.json").write_text('{\n "a": 1,\n}')
    with pytest.raises(UserError, match=r"x\.json.*line 3, column 1"):
        read_json(tmp_path / "x.json")


def test_a_model_with_wrong_keys_names_each(tmp_path):
    write_json(tmp_path / "b.json", {"memory_bytes": -1, "sceonds": 3})
    with pytest.raises(UserError, match=r"not a valid Budget.*memory_bytes.*sceonds"):
        read_model(tmp_path / "b.json", Budget)


def test_a_model_survives_a_round_trip(tmp_path):
    budget = Budget(memory_bytes=2**33, seconds_per_fold=1800)
    write_json(tmp_path / "b.json", budget)
    assert read_model(tmp_path / "b.json", Budget) == budget


def test_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "b.json", {"dice": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_record_cut_short_by_a_crash_is_left_out(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_record(path, {"epoch": 1})
    with open(path, "a") as file:
        file.write(json.dumps({"epoch": 2})[:5])
    assert read_records(path) == [{"epoch": 1}]


def test_faults_are_counted_and_listed():
    assert str(ManyFaults("labelsTr", ["a is empty", "b is missing"])) == (
        "labelsTr: 2 faults found\n  - a is empty\n  - b is missing")


def test_faults_travel_between_processes():
    error = ManyFaults("labelsTr", ["a is empty"])
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.faults) == (str(error), error.faults)


def test_a_folder_that_another_process_holds_is_refused(tmp_path):
    with locked(tmp_path / "fold_0"):
        with pytest.raises(UserError, match="another process works here"), locked(tmp_path / "fold_0"):
            pass
        with locked(tmp_path / "fold_1"):
            pass
    with locked(tmp_path / "fold_0"):
        pass


def test_whoever_waits_for_a_folder_gets_it_when_it_is_free(tmp_path):
    done = []

    def wait():
        with locked(tmp_path / "cases", wait=True):
            done.append("second")

    with locked(tmp_path / "cases"):
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.2)
        if sys.platform != "win32":  # which has no such lock
            assert waiting.is_alive()
            done.append("first")
    waiting.join(10)
    assert done[-1] == "second" and len(done) == (1 if sys.platform == "win32" else 2)


def test_a_file_of_a_later_version_is_refused_before_its_keys_are_read(tmp_path):
    write_json(tmp_path / "race.json", {"schema_version": 99, "a_key_to_come": 1})
    with pytest.raises(UserError, match="a later version of autoseg wrote this file.*schema_version 99.*at most"):
        read_model(tmp_path / "race.json", Race)


def test_a_failed_write_of_a_staged_file_names_its_final_place(tmp_path):
    def full(_):
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError) as raised, staged(tmp_path / "mask.nii.gz") as temporary:
        write_atomically(temporary, full)
    assert str(raised.value).startswith(f"{tmp_path / 'mask.nii.gz'}: it cannot be written (found: No space left on device)")
    assert list(tmp_path.iterdir()) == []
