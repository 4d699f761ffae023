"""What weights say of their training, and what is refused: another plan, other data."""

from pathlib import Path

import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.base.runtime import Runtime
from autoseg.nn.model import build_model
from autoseg.prediction.models import load_model
from autoseg.prediction.trained_with import KEY, TrainedWith, check_same_data, different_data, trained_with
from autoseg.workspace.checkpoint import save_weights
from planners.schema.plan import differing_fields
from tests_support import small_plan

CPU = Runtime(torch.device("cpu"), torch.float32)
NAME = "3d_fullres"
CASES = {"a": {"image": "1", "label": "2", "raw": "3"}, "b": {"image": "4", "label": "5", "raw": "6"}}


def started(**changes) -> TrainedWith:
    return TrainedWith(**{"plan": small_plan(), "training": ("a",), "validation": ("b",), "cases": CASES, **changes})


@pytest.mark.parametrize(("changes", "said"), [
    ({}, []),
    ({"plan": small_plan(batch=3)}, ["the plan (batch)"]),
    ({"training": ("a", "c")}, ["1 case (c) added"]),
    ({"validation": ()}, ["1 case (b) removed"]),
    ({"training": ("b",), "validation": ("a",)},
     ["the folds were changed: 2 cases (a, b) moved between training and validation"]),
    ({"cases": {"a": CASES["a"], "b": {"image": "4", "label": "9", "raw": "8"}}}, ["labels of 1 case (b)"]),
    ({"cases": {"a": {"raw": "0"}, "b": {"raw": "0"}}}, ["images or labels of 2 cases (a, b)"]),
    ({"cases": {"a": {**CASES["a"], "image": "7"}}}, ["images of 1 case (a)"]),
])
def test_every_change_is_named(changes, said):
    assert started().changes(started(**changes)) == said


@pytest.mark.parametrize(("before", "now", "is_same"), [
    (("RAS", 0), ("LPS", 0), False), (("RAS", 0), ("RAS", 3), True), (("", 0), ("RAS", 0), True),
    (("RAS", 0), ("", 0), True), (("", 0), ("RAS", 3), False), (("RAS", 3), ("", 0), False)])
def test_images_that_are_turned_otherwise_are_another_plan(before, now, is_same):
    one, other = (small_plan().model_copy(update={"orientation": axes, "turned": n}) for axes, n in (before, now))
    assert differing_fields(one, other, NAME) == ([] if is_same else ["orientation"])


def test_what_is_only_foreseen_is_no_change():
    assert started().changes(started(plan=small_plan(step_seconds=3.0, views=2.0))) == []


def test_a_schedule_that_differs_is_named_by_its_key():
    plan = small_plan()
    known = plan.configurations[NAME]
    other = known.model_copy(update={"schedule": known.schedule.model_copy(update={"learning_rate": 0.5})})
    assert started().changes(started(plan=plan.model_copy(update={"configurations": {NAME: other}}))) == [
        "the plan (schedule.learning_rate)"]


def test_it_survives_the_header_of_weights(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_weights(path, {}, {KEY: started().model_dump(mode="json")})
    from autoseg.workspace.checkpoint import read_facts

    assert trained_with(read_facts(path), path) == started()


def weights(path: Path, trained: TrainedWith | None) -> Path:
    plan = small_plan()
    facts = {} if trained is None else {KEY: trained.model_dump(mode="json")}
    save_weights(path, build_model(plan, plan.configurations[NAME]).state_dict(), facts)
    return path


@pytest.mark.parametrize(("plan", "said"), [
    (small_plan(spacing_mm=(2.0, 2.0, 2.0)), "different: spacing_mm"), (small_plan(mirror_axes=(0, 1)), "mirror_axes")])
def test_weights_are_not_used_with_another_plan_although_they_fit_it(tmp_path, plan, said):
    path = weights(tmp_path / "checkpoint.safetensors", started())
    with pytest.raises(UserError, match=rf"trained by another plan.*{said}"):
        load_model(plan, plan.configurations[NAME], path, CPU)
    load_model(small_plan(), small_plan().configurations[NAME], path, CPU)


def test_weights_of_an_earlier_version_are_believed(tmp_path):
    plan = small_plan(mirror_axes=(0,))
    loaded = load_model(plan, plan.configurations[NAME], weights(tmp_path / "checkpoint.safetensors", None), CPU)
    assert loaded.trained_with is None


def test_folds_of_different_data_do_not_predict_together():
    corrected = started(cases={"a": {"image": "1", "label": "7", "raw": "8"}})
    with pytest.raises(UserError, match=r"different data.*fold 0 and fold 2 differ in labels of 1 case \(a\).*-f"):
        check_same_data({"0": started(), "1": None, "2": corrected}, Path("model"))
    assert different_data({"0": started(), "1": started(training=("b",), validation=("a",)), "2": None}) == ""
