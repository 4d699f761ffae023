"""The main job through the console commands, on balls that a tiny network learns in seconds; and every way it is refused."""

import configparser
import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from autoseg.cli import evaluate, plan_and_preprocess, predict, train, verify
from autoseg.formats import read_image, read_label, write_array
from tests_support import sphere_case, write_spheres

DATASET = "Dataset001_Spheres"
TINY = ["--set", "schedule.iterations=120", "--set", "schedule.iterations_per_epoch=60",
        "--set", "architecture.features=[8, 16, 16]", "--set", "architecture.strides=[[1,1,1],[2,2,2],[2,2,2]]",
        "--set", "architecture.kernel_sizes=[[3,3,3],[3,3,3],[3,3,3]]", "--set", "architecture.blocks_encoder=[1,1,1]",
        "--set", "architecture.convs_decoder=[1,1]", "--set", "patch=[16,16,16]", "--set", "architecture.encoder=plain",
        "--set", "schedule.learning_rate=0.01", "--set", "batch=2"]


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A workspace with a dataset that is planned and prepared, and fold 0 trained."""
    home = tmp_path_factory.mktemp("home")
    write_spheres(home / "raw" / DATASET, n_cases=6)
    common = ["--home", str(home), "--device", "cpu"]
    assert plan_and_preprocess.main(["-d", "1", "-c", "3d_fullres", "--budget", "60s", "--workers", "1", *common]) == 0
    assert train.main(["1", "3d_fullres", "0", *TINY, *common]) == 0
    return home


@pytest.fixture
def fresh(home, tmp_path):
    """A copy that a test may change."""
    shutil.copytree(home, tmp_path / "home")
    return tmp_path / "home"


def fold(home):
    return home / "models" / DATASET / "budgeted" / "3d_fullres" / "fold_0"


def fails(main, arguments, capsys, *said):
    """The command ends with status 2 and one message that holds all of `said`, and shows no traceback."""
    assert main(arguments) == 2
    message = capsys.readouterr().err.splitlines()
    text = "\n".join(line for line in message if "|" not in line)
    assert all(part in text for part in said), text
    assert "Traceback" not in text


def test_everything_lies_where_the_design_says(home):
    prepared = home / "prepared" / DATASET
    for name in ("fingerprint.json", "plan_budgeted.json", "splits.json"):
        assert (prepared / name).is_file()
    for name in ("checkpoint.safetensors", "schedule.json", "metrics.jsonl", "curves.png", "contact_sheet.png",
                 "result.json", "validation/summary.json"):
        assert (fold(home) / name).is_file()


def test_a_ball_is_learned(home):
    assert json.loads((fold(home) / "result.json").read_text())["mean_dice"] > 0.6


def test_a_finished_fold_says_so_and_is_not_trained_again(home, capsys):
    before = (fold(home) / "checkpoint.safetensors").stat().st_mtime_ns
    assert train.main(["1", "3d_fullres", "0", "--home", str(home), "--device", "cpu"]) == 0
    assert (fold(home) / "checkpoint.safetensors").stat().st_mtime_ns == before
    assert "is finished" in capsys.readouterr().err


def test_preparing_again_keeps_what_is_there(home):
    prepared = home / "prepared" / DATASET / "budgeted_3d_fullres"
    before = {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()}
    plan_and_preprocess.main(["-d", "1", "-c", "3d_fullres", "--budget", "60s", "--workers", "1", "--home", str(home)])
    assert {path.name: path.stat().st_mtime_ns for path in prepared.iterdir()} == before


def test_prediction_needs_nothing_but_input_and_output(home, tmp_path, monkeypatch):
    monkeypatch.setenv("AUTOSEG_HOME", str(home))
    images = home / "raw" / DATASET / "imagesTr"
    assert predict.main(["-i", str(images), "-o", str(tmp_path / "masks"), "--device", "cpu"]) == 0
    masks = sorted(path.name for path in (tmp_path / "masks").glob("*.nii.gz"))
    assert masks == [f"ball_{i:02}.nii.gz" for i in range(6)]
    said = json.loads((tmp_path / "masks" / "labels.json").read_text())
    assert said["labels"] == {"background": 0, "sphere": 1, "core": 2}
    assert evaluate.main(["-r", str(home / "raw" / DATASET / "labelsTr"), "-i", str(tmp_path / "masks"), "-d", "1"]) == 0
    assert json.loads((tmp_path / "masks" / "summary.json").read_text())["foreground_means"]["dice"]["value"] > 0.6


def test_a_single_file_is_predicted_with_its_probabilities(home, tmp_path):
    image = home / "raw" / DATASET / "imagesTr" / "ball_00_0000.nii.gz"
    assert predict.main(["-i", str(image), "-o", str(tmp_path), "--save_probabilities", "--home", str(home),
                         "--device", "cpu"]) == 0
    label, geometry = read_label(tmp_path / "ball_00.nii.gz")
    assert geometry.difference(read_image(image)[1]) == ""
    from autoseg.formats.files import is_file

    soft = tmp_path / "ball_00_probabilities.nii.gz"
    assert is_file(soft)
    import nibabel

    probabilities = np.asarray(nibabel.load(soft).dataobj)
    assert probabilities.shape[3] == 3
    assert np.allclose(probabilities.sum(3), 1, atol=5e-3)
    assert (label == probabilities.argmax(3).T).mean() > 0.999


def test_verify_finds_nothing_wrong(home, capsys):
    assert verify.main(["-d", "1", "--home", str(home), "--workers", "1"]) == 0
    assert "no fault found" in capsys.readouterr().out


def test_one_bad_case_does_not_end_the_good_ones(home, tmp_path, capsys):
    images = tmp_path / "images"
    shutil.copytree(home / "raw" / DATASET / "imagesTr", images)
    (images / "ball_03_0000.nii.gz").write_bytes(b"")
    fails(predict.main, ["-i", str(images), "-o", str(tmp_path / "masks"), "--home", str(home), "--device", "cpu"],
          capsys, "5 of 6 cases", "ball_03")
    assert len(list((tmp_path / "masks").glob("*.nii.gz"))) == 5


def test_a_case_with_too_many_channels_is_refused(home, tmp_path, capsys):
    case = sphere_case("x", 1)
    for channel in range(2):
        write_array(tmp_path / "images" / f"x_{channel:04}.nii.gz", case.image_CDHW, case.geometry)
    fails(predict.main, ["-i", str(tmp_path / "images"), "-o", str(tmp_path / "masks"), "--home", str(home)], capsys,
          "x", "channel")
    assert not (tmp_path / "masks" / "x.nii.gz").exists()


@pytest.mark.parametrize(("arguments", "said"), [
    (["7", "3d_fullres", "0"], "unknown dataset '7'"),
    (["1", "4d", "0"], "unknown configuration '4d'"),
    (["1", "3d_fullres", "9"], "folds 0, 1, 2, 3, 4"),
    (["1", "3d_fullres", "0", "-p", "clever"], "unknown planner 'clever'"),
    (["1", "3d_fullres", "0", "-p", "classic"], "autoseg_plan_and_preprocess"),
    (["1", "2d", "0"], "not prepared for 2d"),
    (["1", "3d_fullres", "1", "--set", "schedule.iteration=3"], "did you mean 'iterations'"),
    (["1", "3d_fullres", "1", "--set", "batch=3"], "started with another plan"),
    (["1", "3d_fullres", "0", "--device", "tpu"], "unknown device"),
    (["1", "3d_fullres", "0", "--plugin", "no_such_module"], "plug-in cannot be imported")])
def test_training_refuses_what_it_does_not_know(home, capsys, arguments, said):
    fails(train.main, [*arguments, "--home", str(home)], capsys, said)


@pytest.mark.parametrize(("arguments", "said"), [
    (["-d", "7"], "unknown dataset '7'"), (["-c", "2d"], "no trained model fits"), (["-f", "3"], "fold 3 is not trained"),
    (["-p", "classic"], "no trained model fits"), (["-m", "/nowhere"], "there is no trained model")])
def test_prediction_refuses_what_it_does_not_know(home, tmp_path, capsys, arguments, said):
    images = home / "raw" / DATASET / "imagesTr"
    fails(predict.main, ["-i", str(images), "-o", str(tmp_path / "masks"), "--home", str(home), *arguments], capsys, said)
    assert not (tmp_path / "masks").exists()


def test_an_untrained_workspace_says_what_to_do(tmp_path, capsys):
    fails(predict.main, ["-i", str(tmp_path), "-o", str(tmp_path / "m"), "--home", str(tmp_path)], capsys,
          "no trained model was found", "autoseg_train")


def test_several_datasets_are_listed_with_the_flag_that_chooses(fresh, tmp_path, capsys):
    shutil.copytree(fresh / "models" / DATASET, fresh / "models" / "Dataset002_Other")
    images = fresh / "raw" / DATASET / "imagesTr"
    fails(predict.main, ["-i", str(images), "-o", str(tmp_path / "masks"), "--home", str(fresh)], capsys,
          "Dataset001_Spheres, Dataset002_Other", "-d")


def test_a_damaged_checkpoint_is_refused(fresh, tmp_path, capsys):
    checkpoint = fold(fresh) / "checkpoint.safetensors"
    checkpoint.write_bytes(checkpoint.read_bytes()[:500])
    images = fresh / "raw" / DATASET / "imagesTr"
    fails(predict.main, ["-i", str(images), "-o", str(tmp_path / "masks"), "--home", str(fresh)], capsys, "damaged")


def test_a_damaged_prepared_case_is_named_and_prepared_again(fresh, capsys):
    folder = fresh / "prepared" / DATASET / "budgeted_3d_fullres"
    damaged = next(path for path in sorted(folder.iterdir()) if path.suffix == ".arrays" and "ball_00" in path.name)
    damaged.write_bytes(damaged.read_bytes()[:-7])
    fails(train.main, ["1", "3d_fullres", "0", "--restart", *TINY, "--home", str(fresh)], capsys, "ball_00")
    assert plan_and_preprocess.main(["-d", "1", "-c", "3d_fullres", "--budget", "60s", "--home", str(fresh)]) == 0
    assert "5 of 6 cases are already prepared" in capsys.readouterr().err


def test_an_evaluation_without_labels_is_refused(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    fails(evaluate.main, ["-r", str(tmp_path / "empty"), "-i", str(tmp_path / "empty")], capsys, "-d")


def commands():
    """Name and place of every console command that the distribution declares."""
    declared = configparser.ConfigParser()
    declared.read(Path(__file__).parents[1] / "setup.cfg")
    lines = declared["options.entry_points"]["console_scripts"].split("\n")
    return dict(tuple(map(str.strip, line.split("="))) for line in lines if line.strip())


@pytest.mark.parametrize("command", sorted(commands()))
def test_every_command_explains_itself(command, capsys):
    module, function = commands()[command].split(":")
    with pytest.raises(SystemExit) as ended:
        getattr(importlib.import_module(module), function)(["--help"])
    assert ended.value.code == 0
    assert "example:" in capsys.readouterr().out
