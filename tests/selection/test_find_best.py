"""From folds to inference.json and on to masks, through the commands; weights are drawn instead of trained."""

import json

import pytest

from autoseg import pipeline
from autoseg.base.errors import ManyFaults
from autoseg.cli import find_best_configuration, predict, train
from autoseg.datasets.dataset import Dataset
from autoseg.formats import read_label
from autoseg.formats.probabilities import read_probabilities
from autoseg.prediction.inference_settings import InferenceSettings
from autoseg.preprocessing.run import preprocess_dataset
from autoseg.selection.cases import mean_label
from autoseg.selection.types import Selection
from autoseg.training import run as run_module
from autoseg.training.state import new_state
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import read_model, write_json
from autoseg.workspace.names import Workspace
from folds_support import DATASET, LARGE, ball
from tests_support import SPHERES as TWO_BALLS
from tests_support import small_plan, write_spheres

SPHERES, NAME = "Dataset001_Spheres", "3d_fullres"


def test_the_choice_is_written_and_read_back(trained):
    trained.model(lambda _: ball(3.5), LARGE)
    selection = pipeline.find_best(1, home=trained.workspace.home, workers=1)
    assert read_model(trained.workspace.selection(DATASET), Selection) == selection
    inference = read_model(trained.workspace.inference_settings(DATASET), InferenceSettings)
    assert [member.configuration for member in inference.members] == ["3d_large"]
    assert len(inference.members[0].digests) == 5
    assert "3d_large (budgeted): mean Dice 1.0000 over 15 cross-validation cases" in inference.reasons
    assert (selection.n_cases, len(selection.candidates), selection.final.n_cases) == (15, 3, 15)
    assert "chosen and scored on the same cases" in selection.notes[0]
    assert any("their correlation is not known" in note for note in selection.notes)  # every Dice is 1


def test_quality_control_comes_with_probabilities(trained):
    selection = pipeline.find_best(1, home=trained.workspace.home, workers=1)
    assert selection.inference.quality_control.n == len(selection.cases) == 15
    assert selection.calibration.n_voxels > 0


def test_without_probabilities_a_choice_is_made_and_what_is_missing_is_told(untrained):
    untrained.model(lambda _: ball(3.2), probabilities=False)
    selection = pipeline.find_best(1, home=untrained.workspace.home, workers=1)
    assert selection.inference.quality_control is None
    assert selection.calibration is None
    assert "autoseg_train Dataset001_Balls 3d_fullres 4 -p budgeted --save_probabilities" in selection.notes[-1]


def test_nothing_is_written_where_no_configuration_is_finished(untrained, capsys):
    untrained.model(lambda _: ball(3.5), folds=(0, 1, 2, 3))
    with pytest.raises(ManyFaults, match="fold 4 is not finished"):
        pipeline.find_best(1, home=untrained.workspace.home)
    assert not untrained.workspace.inference_settings(DATASET).exists()
    assert find_best_configuration.main(["1", "--home", str(untrained.workspace.home)]) == 2
    error = capsys.readouterr().err
    assert "autoseg_train Dataset001_Balls 3d_fullres 4 -p budgeted" in error
    assert "Traceback" not in error


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Ten prepared spheres and five folds of networks that have learned nothing, without probabilities."""
    home = tmp_path_factory.mktemp("home")
    write_spheres(home / "raw" / SPHERES, n_cases=10)
    workspace, plan = Workspace(home), small_plan(mirror_axes=())
    write_json(workspace.plan(SPHERES, plan.planner), plan)
    raw = workspace.raw(SPHERES)
    preprocess_dataset(Dataset.open(raw), plan, NAME, workspace.cases(SPHERES, plan.planner, NAME)).raise_faults()

    def written(job, task, runtime, *_, **__):
        state = new_state(task, job.configuration, runtime, job.seed)
        write_json(job.folder.schedule, state.schedule)
        save_weights(job.folder.checkpoint, state.model.state_dict(), {"training": list(job.training)})

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "train_fold", written)
        patch.setattr(pipeline, "draw_validation", lambda *_: None)
        for fold in range(5):
            pipeline.train(1, NAME, fold, home=home, device="cpu", seed=fold)
        yield home


def test_probabilities_of_finished_folds_are_added_where_they_are_missing(home, monkeypatch):
    folders = [Workspace(home).fold(SPHERES, "budgeted", NAME, fold) for fold in range(5)]
    before = [folder.checkpoint.read_bytes() for folder in folders]
    assert not any(folder.probabilities("ball_00").parent.exists() for folder in folders)
    for fold in range(5):
        assert train.main(["1", NAME, str(fold), "--save_probabilities", "--home", str(home), "--device", "cpu"]) == 0
    saved = sorted(path.name for folder in folders for path in folder.probabilities("x").parent.iterdir())
    assert saved == [f"ball_{i:02}.b2nd" for i in range(10)]
    assert [folder.checkpoint.read_bytes() for folder in folders] == before
    name, owner = "ball_00", next(contender for contender in folders if contender.probabilities("ball_00").is_file())
    label = mean_label([read_probabilities(owner.probabilities(name))], TWO_BALLS)
    assert (label == read_label(owner.validation / f"{name}.nii.gz")[0]).mean() > 0.98  # but for ties of a level
    monkeypatch.setattr(run_module, "load_model", lambda *_: pytest.fail("nothing is missing any more"))
    pipeline.train(1, NAME, 0, save_probabilities=True, home=home, device="cpu")


def test_the_best_configuration_predicts_by_itself(home, tmp_path, capsys):
    for fold in range(5):
        pipeline.train(1, NAME, fold, save_probabilities=True, home=home, device="cpu")
    assert find_best_configuration.main(["1", "--home", str(home), "--workers", "1"]) == 0
    assert "* 3d_fullres (budgeted)" in capsys.readouterr().out
    image = home / "raw" / SPHERES / "imagesTr" / "ball_00_0000.nii.gz"
    assert predict.main(["-i", str(image), "-o", str(tmp_path), "--home", str(home), "--device", "cpu"]) == 0
    assert "inference.json says: 3d_fullres (budgeted)" in capsys.readouterr().err
    (quality,) = json.loads((tmp_path / "quality.json").read_text())["cases"]
    assert quality["name"] == "ball_00"
    assert 0 <= quality["predicted_dice"] <= 1
    assert 0 <= quality["fold_agreement"] <= 1


def test_the_command_explains_itself(capsys):
    with pytest.raises(SystemExit):
        find_best_configuration.main(["--help"])
    assert "example:" in capsys.readouterr().out
