"""A trained model is written into one file, and predicts from it what it predicts in its workspace, on another machine."""

import getpass
import json
import os
import shutil
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest

from autoseg.cli import export_model, import_model, predict
from autoseg.formats import read_label
from autoseg.workspace.files import write_json
from orchestrate_folds import DATASET

NAMES = [f"ball_{number:02}" for number in range(5)]


@pytest.fixture(scope="session")
def shared(trained, tmp_path_factory) -> Path:
    """The trained fold in one file, far from its workspace."""
    path = tmp_path_factory.mktemp("elsewhere") / "spheres.zip"
    assert export_model.main(["-d", "1", "-o", str(path), "--home", str(trained.home), "--licence", "CC0-1.0"]) == 0
    return path


def predicted(trained, target, *options):
    assert predict.main(["-i", str(trained.raw / "imagesTr"), "-o", str(target), "--device", "cpu", "--save_probabilities",
                         *options]) == 0
    return {path.name: path for path in target.glob("*.nii.gz")}


def same_bits(mine, others):
    assert mine.keys() == others.keys() and len(mine) == 10
    for name, path in mine.items():
        assert np.array_equal(np.asarray(read_label(path)[0]), np.asarray(read_label(others[name])[0])) \
            if "probabilities" not in name else path.read_bytes() == others[name].read_bytes(), name


def texts(path):
    """Every byte of every member, and the header of weights once more as the text that it is."""
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            content = archive.read(entry)
            yield entry.filename, entry.filename.encode()
            yield entry.filename, content
            if entry.filename.endswith(".safetensors"):
                length = int.from_bytes(content[:8], "little")
                header = json.loads(content[8 : 8 + length])
                yield entry.filename, header["__metadata__"]["autoseg"].encode()


def test_no_case_path_or_user_is_in_any_byte_of_the_file(trained, shared):
    raw_files = {path.name for path in trained.raw.rglob("*") if path.is_file()} - {"dataset.json"}
    words = {*NAMES, *raw_files, str(trained.home), trained.home.name, trained.home.parent.name, str(Path.home()),
             "imagesTr", "labelsTr", os.uname().nodename}
    words |= {getpass.getuser()} if len(getpass.getuser()) > 5 else set()
    n_members = 0
    for name, content in texts(shared):
        n_members += 1
        for word in words:
            assert word.encode() not in content, (name, word)
    assert n_members > 6


def test_the_weights_of_the_workspace_do_name_its_cases_so_that_the_search_would_find_them(trained):
    weights = (trained.validation.parent / "checkpoint.safetensors").read_bytes()
    assert all(name.encode() in weights for name in NAMES)


def test_the_file_predicts_the_same_bits_read_only_and_without_the_dataset(trained, shared, tmp_path, monkeypatch):
    at_home = predicted(trained, tmp_path / "home_masks", "--home", str(trained.home), "-d", "1")
    folder = tmp_path / "read only"
    folder.mkdir()
    shutil.copy(shared, folder / "model.zip")
    (folder / "model.zip").chmod(stat.S_IRUSR)
    folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    monkeypatch.setenv("AUTOSEG_HOME", str(tmp_path / "nothing"))
    try:
        same_bits(at_home, predicted(trained, tmp_path / "masks", "-m", str(folder / "model.zip")))
        assert [path.name for path in folder.iterdir()] == ["model.zip"]
    finally:
        folder.chmod(stat.S_IRWXU)
    assert not (tmp_path / "nothing").exists()


def test_an_imported_model_predicts_the_same_bits_under_another_number(trained, shared, tmp_path, capsys):
    at_home = predicted(trained, tmp_path / "home_masks", "--home", str(trained.home), "-d", "1")
    home = ["--home", str(tmp_path / "other")]
    assert import_model.main([str(shared), "-d", "12", *home]) == 0
    assert "next: autoseg_predict -d Dataset012_Spheres" in capsys.readouterr().out
    same_bits(at_home, predicted(trained, tmp_path / "masks", "-d", "12", *home))
    assert import_model.main([str(shared), "-d", "12", *home]) == 2
    assert "has models of this dataset already" in capsys.readouterr().err
    write_json(tmp_path / "other" / "raw" / "Dataset013_Kidney" / "dataset.json", {})
    assert import_model.main([str(shared), "-d", "13", *home]) == 2
    assert "Dataset013_Kidney" in capsys.readouterr().err
    assert import_model.main([str(shared), *home]) == 0
    assert (tmp_path / "other" / "models" / DATASET / "MODEL_CARD.md").is_file()


def test_the_card_says_scores_licence_and_limits(shared):
    with zipfile.ZipFile(shared) as archive:
        card = archive.read("MODEL_CARD.md").decode()
    assert "Licence: CC0-1.0." in card and "5 cases." in card and "not a medical device" in card
    row = next(line for line in card.splitlines() if "| 3d_fullres (budgeted): sphere" in line)
    assert not set(row.partition("sphere")[2]) - set(" |1"), "the score of the only validation case is told"
    assert "Not measured (autoseg_ablate)." in card


def test_a_damaged_file_is_a_sentence_that_names_it(trained, shared, tmp_path, capsys):
    path = tmp_path / "spheres.zip"
    content = bytearray(shared.read_bytes())
    content[len(content) // 2] ^= 255
    path.write_bytes(content)
    assert predict.main(["-i", str(trained.raw / "imagesTr"), "-o", str(tmp_path / "masks"), "-m", str(path)]) == 2
    error = capsys.readouterr().err
    assert str(path) in error and "partial" not in error and error.count("\n") == 1


def test_weights_that_are_rubbish_with_a_right_checksum_are_refused(trained, shared, tmp_path, capsys):
    from autoseg.workspace.archive import opened, write_archive

    with opened(shared) as (workspace, manifest):
        (weights,) = workspace.home.rglob("checkpoint.safetensors")
        weights.write_bytes(b"\x80\x04K\x01." * 100)
        settings = workspace.inference_settings(DATASET)
        settings.write_text(json.dumps({"dataset": DATASET, "members": [
            {"planner": "budgeted", "configuration": "3d_fullres", "folds": ["0"]}]}))
        write_archive(tmp_path / "rubbish.zip", workspace.home, manifest)
    assert predict.main(["-i", str(trained.raw / "imagesTr"), "-o", str(tmp_path / "masks"), "-m",
                         str(tmp_path / "rubbish.zip")]) == 2
    error = capsys.readouterr().err
    assert "the trained weights are damaged" in error and str(tmp_path / "rubbish.zip") in error
    assert import_model.main([str(tmp_path / "rubbish.zip"), "--home", str(tmp_path / "other")]) == 2
    assert "the trained weights are damaged" in capsys.readouterr().err
    assert not list((tmp_path / "other").rglob("*.json"))


def test_another_ending_than_zip_is_refused(trained, tmp_path, capsys):
    assert export_model.main(["-d", "1", "-o", str(tmp_path / "model.pt"), "--home", str(trained.home)]) == 2
    assert "ends with .zip" in capsys.readouterr().err


@pytest.mark.slow
def test_a_training_begins_from_the_file_and_says_what_nobody_knows(shared, tmp_path, capsys):
    from autoseg.cli import train
    from orchestrate_folds import prepared_spheres

    workspace, _ = prepared_spheres(tmp_path / "other")
    assert train.main(["1", "3d_fullres", "1", "--from", str(shared), "--home", str(workspace.home), "--device", "cpu",
                       "--set", "schedule.iterations=1"]) == 0
    report = json.loads(workspace.fold(DATASET, "budgeted", "3d_fullres", 1).transfer.read_text())
    assert report["encoder_share"] == 1.0 and report["seen"] == [] and report["labels"] == ["background", "sphere", "core"]
    assert "does not say which cases it was trained on" in report["remarks"][-1]


def test_the_topology_of_the_file_is_planned_for_another_dataset(shared):
    from autoseg.training.source import opened_source

    with opened_source(shared, 0) as source:
        assert (source.name, source.plan.planner, source.seen) == ("3d_fullres", "budgeted", frozenset())
