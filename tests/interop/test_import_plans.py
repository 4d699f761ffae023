"""Plans of nnU-Net become a plan of the dataset, by which cases are prepared and folds are trained."""

import json
from pathlib import Path

import pytest

from autoseg.cli import import_, plan_and_preprocess
from autoseg.planning.resolve import resolve_plan
from autoseg.preprocessing.store import open_prepared
from autoseg.workspace.names import Workspace
from real_cases import some_cases


@pytest.fixture
def hippocampi(shared_data, tmp_path) -> Path:
    """Three hippocampi as nnU-Net has them, and the plans that nnU-Net 2.8.1 made of all."""
    model = shared_data.parent / "models" / "nnunet_2.8.1_Dataset004" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    plans = model / "plans.json"
    if not plans.is_file():
        pytest.skip("needs the model of nnU-Net in shared/models")
    some_cases(shared_data / "Dataset004_Hippocampus", tmp_path / "Dataset004_Hippocampus", 3, ".nii.gz")
    (tmp_path / "nnUNetPlans.json").write_text(plans.read_text())
    return tmp_path


def imported(folder: Path, *more: str) -> int:
    return import_.main(["nnunet_v2", str(folder / "Dataset004_Hippocampus"), "-d", "4", "--home", str(folder / "home"),
                         "--workers", "1", "--plans", str(folder / "nnUNetPlans.json"), *more])


def test_cases_are_prepared_and_a_training_is_planned_by_the_plans_of_nnunet(hippocampi, capsys):
    assert imported(hippocampi) == 0
    said = capsys.readouterr().out
    assert "autoseg_plan_and_preprocess -d 4 -p nnUNetPlans" in said
    assert "autoseg_train 4 2d all-folds -p nnUNetPlans" in said
    home = hippocampi / "home"
    assert plan_and_preprocess.main(["-d", "4", "-p", "nnUNetPlans", "-c", "3d_fullres", "--home", str(home),
                                     "--workers", "1"]) == 0
    workspace, (dataset,) = Workspace(home), Workspace(home).datasets()
    theirs = json.loads((hippocampi / "nnUNetPlans.json").read_text())["configurations"]["3d_fullres"]
    plan = resolve_plan(workspace, dataset, "3d_fullres", planner="nnUNetPlans")
    configuration = plan.configurations["3d_fullres"]
    assert list(configuration.patch) == theirs["patch_size"] and configuration.batch == theirs["batch_size"]
    cases = workspace.cases(dataset, "nnUNetPlans", "3d_fullres")
    (name, *_) = sorted({path.name.split(".")[0] for path in cases.iterdir() if path.name.startswith("hippocampus")})
    assert open_prepared(cases, name).image_CDHW.shape[0] == 1


@pytest.mark.parametrize(("changes", "words"), [
    ({"plans_name": "classic"}, "it is the name of a planner of autoseg"),
    ({"plans_name": "../x"}, "cannot be that of a plan"),
    ({"configurations": {}}, "found: no configurations"),
    ({"label_manager": "Mine"}, "the label manager of this model has no counterpart here")])
def test_other_plans_are_refused_before_anything_is_imported(hippocampi, capsys, changes, words):
    path = hippocampi / "nnUNetPlans.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    assert imported(hippocampi) == 2
    assert words in capsys.readouterr().err
    assert not (hippocampi / "home").exists()
