"""Which plan folds are trained by: a file's, a started model's, one planned again, or the dataset's."""

import pytest

from autoseg.base.errors import UserError
from autoseg.planning import resolve as resolve_module
from autoseg.planning.resolve import apply_changes, check_started, resolve_plan
from autoseg.planning.store import configuration_of, is_current
from autoseg.workspace.files import write_json
from autoseg.workspace.names import Workspace
from planners.schema.ceiling import Ceiling
from planners.schema.hardware import Budget
from planners.schema.override import override
from planners.schema.plan import Plan
from tests_support import small_plan

DATASET, NAME = "Dataset001_Spheres", "3d_fullres"


def planned_for(plan: Plan, seconds: float) -> Plan:
    known = plan.configurations[NAME]
    schedule = known.schedule.model_copy(update={"iterations": None, "budget_seconds": seconds})
    return plan.model_copy(update={"configurations": {NAME: known.model_copy(update={"schedule": schedule})}})


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    workspace = Workspace(tmp_path)
    write_json(workspace.plan(DATASET, "budgeted"), small_plan())
    return workspace


def start(workspace: Workspace, plan: Plan) -> None:
    folder = workspace.home / "models" / DATASET / "budgeted" / NAME
    write_json(folder / "plan.json", plan)
    write_json(folder / "fold_0" / "schedule.json", plan.configurations[NAME].schedule)


def resolved(workspace: Workspace, **asked):
    return resolve_plan(workspace, DATASET, NAME, **{"planner": "budgeted", **asked})


def test_the_plan_of_the_dataset_holds_where_nothing_was_started(workspace):
    assert resolved(workspace) == small_plan()


def test_changes_are_made_to_one_configuration(workspace):
    plan = resolved(workspace, changes=["batch=3", "schedule.iterations=9"])
    assert (plan.configurations[NAME].batch, plan.configurations[NAME].schedule.iterations) == (3, 9)


def test_a_started_model_keeps_its_plan_unless_it_restarts(workspace):
    start(workspace, small_plan(batch=5))
    assert resolved(workspace).configurations[NAME].batch == 5
    assert resolved(workspace, changes=["batch=5"]).configurations[NAME].batch == 5
    assert resolved(workspace, restart=True) == small_plan()


def test_other_changes_than_the_started_ones_are_made_to_the_plan_of_the_dataset(workspace):
    start(workspace, small_plan(batch=5))
    assert resolved(workspace, changes=["batch=4"]) == small_plan(batch=4)


def test_another_budget_than_the_started_one_is_planned_for(workspace, monkeypatch):
    start(workspace, planned_for(small_plan(), 60.0))
    monkeypatch.setattr(resolve_module, "make_plan", lambda workspace, dataset, planner, budget, device: planned_for(
        small_plan(), budget.seconds_per_fold))
    for seconds in (60.0, 90.0):
        plan = resolved(workspace, budget=Budget(seconds_per_fold=seconds))
        assert plan.configurations[NAME].schedule.budget_seconds == seconds


def test_a_plan_for_another_budget_must_fit_the_prepared_cases(workspace, monkeypatch):
    monkeypatch.setattr(resolve_module, "make_plan", lambda *_: small_plan(spacing_mm=(2.0, 2.0, 2.0)))
    with pytest.raises(UserError, match=f"needs other prepared cases for this budget; run autoseg_plan_and_preprocess "
                                        f"-d .* -p {small_plan().planner} --budget 90s --memory 8192M$"):
        resolved(workspace, budget=Budget(seconds_per_fold=90, memory_bytes=2**33))


def test_a_file_holds_before_anything_else(workspace, tmp_path):
    start(workspace, small_plan(batch=5))
    write_json(tmp_path / "plan.json", small_plan(batch=7))
    plan = resolved(workspace, file=tmp_path / "plan.json", changes=["patch=[8,8,8]"])
    assert plan == small_plan(batch=7, patch=(8, 8, 8))


def test_an_unknown_configuration_is_refused_with_those_that_there_are(workspace):
    with pytest.raises(UserError, match=r"unknown configuration '4d'.*3d_fullres"):
        resolve_plan(workspace, DATASET, "4d", planner="budgeted")
    assert configuration_of(small_plan(), NAME) == small_plan().configurations[NAME]


def test_folds_that_were_started_with_other_settings_are_not_mixed_with_new_ones(workspace):
    plan = planned_for(small_plan(), 60.0)
    check_started(workspace, plan, [NAME], Budget(seconds_per_fold=90))  # nothing was started
    start(workspace, plan)
    check_started(workspace, plan, [NAME], Budget())
    check_started(workspace, plan, [NAME], Budget(seconds_per_fold=60))
    for budget in (Budget(seconds_per_fold=90), Budget(memory_bytes=2**30)):
        with pytest.raises(UserError, match=r"started with another budget or memory.*60 s per fold"):
            check_started(workspace, plan, [NAME], budget)
    with pytest.raises(UserError, match="started with cases that were prepared differently"):
        check_started(workspace, small_plan(spacing_mm=(2.0, 2.0, 2.0)), [NAME], Budget())


def test_a_plan_of_another_budget_or_dataset_is_not_current():
    class Measured:
        digest = ""

    plan = planned_for(small_plan(), 60.0)
    assert is_current(plan, Measured, Budget()) and is_current(plan, Measured, Budget(seconds_per_fold=60))
    assert not is_current(plan, Measured, Budget(seconds_per_fold=90))
    assert not is_current(plan, Measured, Budget(memory_bytes=2**30))
    Measured.digest = "other"
    assert not is_current(plan, Measured, Budget())


def test_a_plan_of_a_file_is_not_planned_again_for_a_budget(workspace):
    file = workspace.plan(DATASET, "budgeted")
    with pytest.raises(UserError, match=r"not planned again for a budget.*leave out --budget"):
        resolved(workspace, file=file, budget=Budget(seconds_per_fold=60.0))


def test_a_plan_of_a_file_must_be_of_the_dataset_that_is_named(workspace, tmp_path):
    write_json(tmp_path / "other.json", small_plan().model_copy(update={"dataset": "Dataset002_Other"}))
    with pytest.raises(UserError, match=r"of another dataset.*Dataset002_Other"):
        resolved(workspace, file=tmp_path / "other.json")


def test_the_planned_seconds_of_a_step_go_with_what_they_hold_for():
    plan = small_plan()
    timed = plan.configurations[NAME].model_copy(update={"step_seconds": 0.2})
    plan = plan.model_copy(update={"configurations": {NAME: timed}})
    seconds = [apply_changes(plan, NAME, [change]).configurations[NAME].step_seconds
               for change in ("batch=3", "schedule.learning_rate=0.5")]
    assert seconds == [None, 0.2]


def test_a_started_model_may_have_been_planned_with_another_speed(workspace, caplog):
    started = small_plan()
    timed = started.configurations[NAME].model_copy(update={"step_seconds": 0.2})
    start(workspace, started.model_copy(update={"configurations": {NAME: timed}}))
    with caplog.at_level("INFO"):
        resolved(workspace)
    assert "keeps the plan" not in caplog.text


def test_what_was_foreseen_of_another_grid_or_schedule_is_forgotten():
    ceiling = Ceiling(label="sphere", dice=1, dice_p25=1, kept=1, lowest_kept=1)
    known = configuration_of(small_plan(), NAME).model_copy(update={"ceiling": ceiling, "views": 9.0, "step_seconds": 1.0})
    facts = {change: override(known, [change]).foreseen_only_as(known) for change in
             ("spacing_mm=[2, 2, 2]", "schedule.iterations=9", "batch=4", "loss.options.ce_weight=2")}
    forgotten = {change: {fact for fact in ("ceiling", "views", "step_seconds") if getattr(after, fact) is None}
                 for change, after in facts.items()}
    assert forgotten == {"spacing_mm=[2, 2, 2]": {"ceiling", "views"}, "schedule.iterations=9": {"views"},
                         "batch=4": {"views", "step_seconds"}, "loss.options.ce_weight=2": set()}
