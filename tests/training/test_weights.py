"""Weights of classes and of cases: they are part of the plan and of what a training was started with."""

import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.cli import train as command
from autoseg.datasets.dataset import Dataset
from autoseg.datasets.integrity import verify
from autoseg.planning.resolve import apply_changes, resolve_plan
from autoseg.training.assemble import assemble
from autoseg.training.run import run_fold
from autoseg.workspace.files import read_json, write_json
from autoseg.workspace.names import Workspace
from orchestrate_folds import DATASET, NAME, prepared_spheres, pretend_to_train
from planners.schema.plan import differing_fields
from tests_support import small_plan

CPU = Runtime(torch.device("cpu"), torch.float32)


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    prepared_spheres(tmp_path)
    return Workspace(tmp_path)


def weigh(workspace, weight_of) -> None:
    raw = workspace.raw(DATASET)
    names = Dataset.open(raw).names
    (raw / "cases.csv").write_text("case,weight\n" + "".join(f"{name},{weight_of(name)}\n" for name in names))
    write_json(raw / "dataset.json", read_json(raw / "dataset.json") | {
        "conditions": {"table": "cases.csv"}, "case_weight": {"column": "weight"}})


@pytest.mark.parametrize(("change", "said"), [
    ("class_weights.cores=3", "class_weights names 'cores', which is no label, did you mean 'core'?; known: sphere, core"),
    ("class_weights.background=3", "known: sphere, core"), ("class_weights.core=0", "greater than 0"),
    ("class_weights.core=-2", "greater than 0"), ("class_weights.core=NaN", "finite"),
    ("class_weights.core=Infinity", "finite"), ("class_weights.core=much", "number")])
def test_a_wrong_class_weight_is_refused(change, said):
    with pytest.raises(UserError) as raised:
        apply_changes(small_plan(), NAME, [change])
    assert said in str(raised.value)


@pytest.mark.parametrize(("text", "said"), [
    ("core", "LABEL=WEIGHT"), ("=3", "LABEL=WEIGHT"), ("core=", "LABEL=WEIGHT"), ("core=x", "LABEL=WEIGHT"),
    ("core=0", "above 0"), ("core=-1", "above 0"), ("core=inf", "above 0"), ("core=nan", "above 0"),
    ("cor=2", "known: sphere, core")])
def test_the_flag_says_what_is_wrong(workspace, capsys, text, said):
    options = ["1", NAME, "0", "--class_weights", text, "--home", str(workspace.home), "--device", "cpu"]
    assert command.main(options) == 2
    assert said in capsys.readouterr().err and not workspace.fold(DATASET, "budgeted", NAME, 0).is_started


def test_a_training_keeps_its_class_weights_without_the_flag(workspace, monkeypatch):
    pretend_to_train(monkeypatch)
    options = ["1", NAME, "0", "--home", str(workspace.home), "--device", "cpu"]
    assert command.main([*options, "--class_weights", "core=3"]) == 0
    plan = resolve_plan(workspace, DATASET, NAME, planner="budgeted")
    assert plan.configurations[NAME].class_weights == {"core": 3.0}
    assert command.main(options) == 0  # resumes, with the plan that it was started with
    assert command.main([*options, "--class_weights", "core=2"]) == 2
    assert differing_fields(plan, small_plan(), NAME) == ["class_weights"]


def test_weights_of_cases_reach_the_training_and_0_is_only_validated(workspace):
    weigh(workspace, lambda name: {"ball_00": 0, "ball_01": 2.5}.get(name, 1))
    job, _ = assemble(workspace, small_plan(), NAME, 0)
    assert job.weights["ball_01"] == 2.5
    assert set(job.training) - set(job.drawn) == {"ball_00"} & set(job.training)
    assert {*job.training, *job.validation} == set(Dataset.open(workspace.raw(DATASET)).names)


def test_a_changed_weight_is_noticed_by_resume_and_by_a_finished_fold(workspace):
    weigh(workspace, lambda _: 1)
    run_fold(workspace, small_plan(), NAME, 0, CPU)
    weigh(workspace, lambda name: 3 if name == "ball_02" else 1)
    with pytest.raises(UserError, match=r"weights in the table of 1 case \(ball_02\).*--restart"):
        run_fold(workspace, small_plan(), NAME, 0, CPU)
    weigh(workspace, lambda _: 1)
    folder = workspace.fold(DATASET, "budgeted", NAME, 0)
    assert run_fold(workspace, small_plan(), NAME, 0, CPU).fold == 0
    weigh(workspace, lambda name: 3 if name == "ball_02" else 1)
    for file in (folder.result, folder.checkpoint):
        file.unlink()  # a training that was stopped after its last epoch
    with pytest.raises(UserError, match=r"weights in the table of 1 case \(ball_02\).*--restart"):
        run_fold(workspace, small_plan(), NAME, 0, CPU)


def test_weights_that_leave_no_case_to_train_on_are_refused(workspace):
    weigh(workspace, lambda _: 0)
    with pytest.raises(UserError, match="every training case of this fold has the weight 0"):
        assemble(workspace, small_plan(), NAME, 0)


def test_verify_and_training_name_the_cases_of_a_bad_weight(workspace):
    weigh(workspace, lambda name: -1 if name == "ball_03" else 1)
    assert any("ball_03" in fault and "weighs" in fault for fault in verify(workspace.raw(DATASET)).faults)
    with pytest.raises(Exception, match="ball_03"):
        assemble(workspace, small_plan(), NAME, 0)
