"""A plan is made once: speed is measured, and a new plan could replace the cases of a training that was started."""

import pytest

from autoseg import pipeline
from autoseg.base.errors import UserError
from autoseg.cli import plan_and_preprocess
from autoseg.planning import make
from autoseg.training.assemble import assemble
from autoseg.workspace.files import read_json, write_json
from autoseg.workspace.names import Workspace
from planners.schema.hardware import KnownHardware
from planners.schema.plan import Plan
from tests_support import write_spheres

DATASET, NAME = "Dataset001_Spheres", "3d_fullres"


@pytest.fixture
def machine(monkeypatch):
    """The hardware of which every plan is made; how often it was asked for."""
    asked = []

    def probed(device):
        asked.append(device)
        return KnownHardware(memory_bytes=2**33, flops_per_s=1e12, cores=2)

    monkeypatch.setattr(make, "ProbedHardware", probed)
    return asked


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    write_spheres(tmp_path / "raw" / DATASET)
    pipeline.fingerprint(1, home=tmp_path)
    return Workspace(tmp_path)


def plan(workspace, **options) -> Plan:
    return pipeline.plan(1, home=workspace.home, **{"budget_seconds": 60, **options})


def test_the_machine_is_not_measured_again_for_the_same_plan(workspace, machine):
    first = plan(workspace)
    assert plan(workspace) == first
    assert plan(workspace, budget_seconds=None) == first  # no other time is asked for
    assert len(machine) == 1


@pytest.mark.parametrize("options", [{"budget_seconds": 61}, {"memory_bytes": 2**30}, {"replan": True}, {"device": "cpu"}])
def test_other_grants_are_planned_anew(workspace, machine, options):
    plan(workspace)
    plan(workspace, **options)
    assert len(machine) == 2


def test_other_data_are_planned_anew(workspace, machine):
    plan(workspace)
    raw = workspace.raw(DATASET)
    described = read_json(raw / "dataset.json")
    write_json(raw / "dataset.json", {**described, "labels": dict(reversed(described["labels"].items()))})
    for path in (raw / "labelsTr").iterdir():
        path.write_bytes((raw / "labelsTr" / min(p.name for p in (raw / "labelsTr").iterdir())).read_bytes())
    pipeline.fingerprint(1, home=workspace.home)
    plan(workspace)
    assert len(machine) == 2


def begin(workspace, spacing_mm) -> None:
    """A model whose cases are prepared with another spacing than the dataset's plan has."""
    known = Plan.model_validate(read_json(workspace.plan(DATASET, "budgeted")))
    other = known.configurations[NAME].model_copy(update={"spacing_mm": spacing_mm})
    model = workspace.model(DATASET, "budgeted", NAME)
    write_json(model.plan, known.model_copy(update={"configurations": {**known.configurations, NAME: other}}))
    write_json(model.fold(0).schedule, {})


def test_a_new_plan_does_not_take_the_cases_of_a_model_that_was_started(workspace, machine):
    plan(workspace)
    before = read_json(workspace.plan(DATASET, "budgeted"))
    begin(workspace, (9.0, 9.0, 9.0))
    with pytest.raises(UserError, match=r"started with cases that are prepared differently.*-p \S+plan\.json -c 3d_fullres"
                                        r".*--replan.*--restart"):
        plan(workspace, budget_seconds=3600)
    assert read_json(workspace.plan(DATASET, "budgeted")) == before
    assert plan(workspace, budget_seconds=3600, replan=True).configurations[NAME].schedule.budget_seconds == 3600


def test_a_model_whose_plan_was_replaced_is_mended_by_the_command_that_the_error_names(workspace, machine, capsys):
    plan(workspace)
    begin(workspace, (2.0, 2.0, 2.0))
    pipeline.preprocess(1, configurations=[NAME], home=workspace.home, workers=1)
    own = workspace.model(DATASET, "budgeted", NAME).read_plan()
    with pytest.raises(UserError) as caught:
        assemble(workspace, own, NAME, 0)
    command = str(caught.value).split("autoseg_plan_and_preprocess ")[1].split(";")[0].split()
    assert plan_and_preprocess.main([*command, "--home", str(workspace.home), "--workers", "1"]) == 0
    assert assemble(workspace, own, NAME, 0)[0].configuration.spacing_mm == (2.0, 2.0, 2.0)
    assert plan_and_preprocess.main([*command, "--budget", "1h", "--home", str(workspace.home)]) == 2
    assert "not planned again" in capsys.readouterr().err
