"""A plan that somebody edited is theirs: it is never replaced, and is used under a name of its own."""

import json

import pytest

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.orchestrate.run import run
from autoseg.workspace.files import read_json, write_json
from autoseg.workspace.names import Workspace
from tests_support import write_spheres

DATASET = "Dataset001_Spheres"


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    write_spheres(tmp_path / "raw" / DATASET)
    pipeline.fingerprint(1, home=tmp_path)
    pipeline.plan(1, home=tmp_path, planner="classic")
    return Workspace(tmp_path)


def edit(workspace: Workspace, **schedule) -> None:
    path = workspace.plan(DATASET, "classic")
    plan = read_json(path)
    plan["configurations"]["3d_fullres"]["schedule"].update(schedule)
    path.write_text(json.dumps(plan))


def test_a_plan_that_nobody_edited_is_made_again(workspace):
    made = pipeline.plan(1, home=workspace.home, planner="classic", budget_seconds=60)
    assert made.configurations["3d_fullres"].schedule.budget_seconds == 60


def test_a_plan_written_in_another_layout_is_not_edited(workspace):
    path = workspace.plan(DATASET, "classic")
    before = read_json(path)
    path.write_text(json.dumps(before))
    pipeline.plan(1, home=workspace.home, planner="classic")
    assert read_json(path) == before


def test_an_edited_plan_is_not_replaced(workspace):
    edit(workspace, iterations=5)
    with pytest.raises(UserError, match=r"edited by hand.*plan_mine\.json.*-p mine"):
        pipeline.plan(1, home=workspace.home, planner="classic")
    assert read_json(workspace.plan(DATASET, "classic"))["configurations"]["3d_fullres"]["schedule"]["iterations"] == 5


def test_an_edited_plan_under_its_own_name_is_used_as_it_is(workspace):
    edit(workspace, iterations=5)
    workspace.plan(DATASET, "classic").rename(workspace.plan(DATASET, "mine"))
    own = pipeline.plan(1, home=workspace.home, planner="mine")
    assert own.planner == "mine"
    assert own.configurations["3d_fullres"].schedule.iterations == 5
    (folder,) = pipeline.preprocess(1, planner="mine", configurations=["3d_fullres"], home=workspace.home)
    assert folder.name == "mine_3d_fullres"
    with pytest.raises(UserError, match="a plan of your own is not planned again"):
        pipeline.plan(1, home=workspace.home, planner="mine", budget_seconds=60)


def test_everything_is_run_with_an_own_plan(workspace):
    edit(workspace, iterations=2, iterations_per_epoch=1)
    copy = workspace.plan(DATASET, "mine")
    copy.write_text(workspace.plan(DATASET, "classic").read_text())
    ran = run(1, planner="mine", configurations=["3d_fullres"], folds=["0"], home=workspace.home)
    assert [outcome.fault for outcome in ran.outcomes] == [""]
    folder = workspace.fold(DATASET, "mine", "3d_fullres", 0)
    assert read_json(folder.schedule)["iterations"] == 2
    assert not workspace.model(DATASET, "classic", "3d_fullres").path.exists()


def test_a_plan_of_another_dataset_is_refused(workspace):
    plan = read_json(workspace.plan(DATASET, "classic"))
    write_json(workspace.plan(DATASET, "mine"), {**plan, "dataset": "Dataset002_Other"})
    with pytest.raises(UserError, match="another dataset"):
        pipeline.plan(1, home=workspace.home, planner="mine")


def test_a_name_of_neither_a_planner_nor_a_plan_is_unknown(workspace):
    with pytest.raises(UserError, match="planner"):
        pipeline.plan(1, home=workspace.home, planner="nobody")


def test_plans_without_a_content_hash_are_replaced(workspace):
    path = workspace.plan(DATASET, "classic")
    write_json(path, {key: value for key, value in read_json(path).items() if key != "content_hash"})
    pipeline.plan(1, home=workspace.home, planner="classic")
    assert read_json(path)["content_hash"]
