"""One command from a raw dataset to the report; what was done is kept, and a cascade waits for its earlier stage."""


import pytest

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.cli import run
from autoseg.orchestrate import run as run_module
from autoseg.orchestrate.run import in_stages
from autoseg.planning import make
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace
from orchestrate_folds import DATASET, pretend_to_train
from planners.schema.hardware import KnownHardware
from tests_support import small_plan, write_spheres


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A raw dataset, for which a plan of tiny networks is made and whose report is only noted."""
    write_spheres(tmp_path / "raw" / DATASET, n_cases=5)
    make_plan = make.make_plan

    def tiny(*arguments):
        measured = make_plan(*arguments)
        return measured.model_copy(update={"configurations": {
            "3d_fullres": small_plan().configurations["3d_fullres"], "2d": small_plan(2).configurations["2d"]}})

    monkeypatch.setattr(make, "make_plan", tiny)
    monkeypatch.setattr(make, "ProbedHardware", lambda device: KnownHardware(
        device="cpu", memory_bytes=2**33, flops_per_s=1e11, cores=1))
    monkeypatch.setattr(pipeline, "report", lambda dataset, *, home: Workspace(home).report(dataset))
    return tmp_path


def test_everything_is_done_and_the_same_command_goes_on(home, monkeypatch, capsys):
    done = pretend_to_train(monkeypatch, bad=(1,))
    command = ["1", "--folds", "0", "1", "--home", str(home), "--device", "cpu", "--workers", "1"]
    assert run.main(command) == 2
    printed = capsys.readouterr()
    assert "2 failed" in printed.err and "3d_fullres fold 1" in printed.err and "report.html" in printed.out
    assert "autoseg_train" in printed.err  # nothing can be chosen yet, and how to finish the folds is said
    assert done == [("3d_fullres", 0), ("2d", 0)]
    planned = Workspace(home).plan(DATASET, "budgeted").stat().st_mtime_ns
    again = pretend_to_train(monkeypatch)
    monkeypatch.setattr(pipeline, "find_best", lambda *_, **__: None)
    assert run.main(command) == 0
    printed = capsys.readouterr()
    assert again == [("3d_fullres", 1), ("2d", 1)]
    assert Workspace(home).plan(DATASET, "budgeted").stat().st_mtime_ns == planned
    assert printed.out.count("mean over all 2 cases") == 2 and "folds 4/4 finished" in printed.err


def test_a_wrong_configuration_is_refused_before_anything_is_trained(home, monkeypatch, capsys):
    pretend_to_train(monkeypatch)
    assert run.main(["1", "-c", "4d", "--home", str(home), "--device", "cpu", "--workers", "1"]) == 2
    assert "unknown configuration '4d'" in capsys.readouterr().err
    assert not (home / "models").exists()


def with_cascade():
    plan = small_plan()
    lowres = plan.configurations["3d_fullres"]
    cascade = lowres.model_copy(update={"previous": "3d_lowres", "data": "3d_fullres"})
    return plan.model_copy(update={"configurations": {"3d_cascade_fullres": cascade, "3d_fullres": lowres,
                                                      "3d_lowres": lowres, "2d": lowres}})


def test_a_cascade_is_trained_after_its_earlier_stage():
    assert in_stages(with_cascade(), None) == [["3d_fullres", "3d_lowres", "2d"], ["3d_cascade_fullres"]]
    assert in_stages(with_cascade(), ["2d"]) == [["2d"]]
    with pytest.raises(UserError, match=r"needs the predictions of 3d_lowres.*-c 3d_lowres 3d_cascade_fullres"):
        in_stages(with_cascade(), ["3d_cascade_fullres"])


def test_a_cascade_is_not_started_where_its_earlier_stage_failed(tmp_path, monkeypatch):
    write_spheres(tmp_path / "raw" / DATASET, n_cases=5)
    plan, started = with_cascade(), []

    def train_one(task, *_):
        started.append(task.title)
        return run_module.Outcome(task, None, "bad" if task.configuration == "3d_lowres" else "")

    monkeypatch.setattr(run_module, "resolve_plan", lambda *_, **__: plan)
    monkeypatch.setattr("autoseg.orchestrate.folds.attempt", train_one)
    outcomes = run_module._train(Workspace(tmp_path), plan, [["3d_lowres"], ["3d_cascade_fullres"]], [0, 1],
                                 run_module.ExecutionOptions(), None)
    assert started == ["3d_lowres fold 0", "3d_lowres fold 1"]
    assert [outcome.fault for outcome in outcomes][2:] == ["not started, because folds of 3d_lowres failed"] * 2


def test_another_budget_than_folds_were_started_with_is_refused(home, monkeypatch, capsys):
    pretend_to_train(monkeypatch)
    workspace, plan = Workspace(home), small_plan()
    started = plan.configurations["3d_fullres"]
    started = started.model_copy(update={"schedule": started.schedule.model_copy(update={"budget_seconds": 60.0})})
    write_json(workspace.model(DATASET, "budgeted", "3d_fullres").plan,
               plan.model_copy(update={"configurations": {"3d_fullres": started}}))
    write_json(workspace.fold(DATASET, "budgeted", "3d_fullres", 0).schedule, started.schedule)
    assert run.main(["1", "--budget", "90s", "--home", str(home), "--device", "cpu", "--workers", "1"]) == 2
    assert "started with another budget or memory" in capsys.readouterr().err


def test_the_command_explains_itself(capsys):
    with pytest.raises(SystemExit):
        run.main(["--help"])
    assert "example: autoseg_run" in capsys.readouterr().out
