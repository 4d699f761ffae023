"""Whatever is written to a file and read back has a `schema_version`, and one of a later version is refused."""

import ast
import importlib
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from autoseg.base.errors import UserError
from autoseg.workspace.checkpoint import load_state, load_weights, read_facts, save_state, save_weights
from autoseg.workspace.files import read_model, write_json
from planners.schema.base import Frozen

ROOT = Path(__file__).parents[2]
# Parts of the plan beside them, without a version of their own; and notes that live as long as one prediction.
OF_ANOTHER = {"ResolvedSchedule", "CaseQuality"}


def models_read() -> dict[str, type[Frozen]]:
    """Every class that `read_model` is called with, by name."""
    known = {}
    for file in sorted((ROOT / "autoseg").rglob("*.py")):
        module = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            is_read = isinstance(node, ast.Call) and getattr(node.func, "id", "") == "read_model"
            if is_read and isinstance(node.args[1], ast.Name):
                known[node.args[1].id] = getattr(importlib.import_module(module), node.args[1].id, None)
    return {name: model for name, model in known.items() if model is not None and name not in OF_ANOTHER}


MODELS = models_read()


@pytest.mark.parametrize("name", MODELS)
def test_a_file_of_a_later_version_is_refused_before_its_keys_are_read(tmp_path, name):
    newest = MODELS[name].model_fields["schema_version"].default
    write_json(tmp_path / "file.json", {"schema_version": newest + 1, "a_key_to_come": 1})
    with pytest.raises(UserError, match="a later version of autoseg wrote this file"):
        read_model(tmp_path / "file.json", MODELS[name])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("version", [0, -1, 99, "99", None, 1.5])
def test_a_version_that_is_none_of_ours_is_refused_also_within_another_object(name, version):
    field = MODELS[name].model_fields["schema_version"]
    with pytest.raises(ValidationError):
        TypeAdapter(field.rebuild_annotation()).validate_python(version)


def test_the_readers_of_results_are_known():
    assert {"Plan", "Fingerprint", "InferenceSettings", "FoldResult", "Summary", "ConditionEncoder", "TrainedWith", "Race",
            "QualityReport", "PreparedRecord", "CaseRecord", "ProvenanceFile", "Elapsed"} <= MODELS.keys()


def test_weights_of_a_later_version_are_refused(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_weights(path, {"w": torch.ones(1)}, {"schema_version": 2, "fold": 0})
    for read in (load_weights, read_facts):
        with pytest.raises(UserError, match="another version of autoseg wrote this file.*schema_version 2"):
            read(path)


def test_a_state_of_a_later_version_is_refused_and_not_replaced_by_the_one_before(tmp_path):
    path = tmp_path / "state.pt"
    save_state(path, {"iteration": 1})
    save_state(path, {"schema_version": 2, "iteration": 2})
    with pytest.raises(UserError, match="another version of autoseg wrote this file"):
        load_state(path)


def test_what_is_read_back_is_what_was_written(tmp_path):
    save_weights(tmp_path / "w.safetensors", {"w": torch.ones(1)}, {"fold": 0})
    save_state(tmp_path / "state.pt", {"iteration": 1})
    assert read_facts(tmp_path / "w.safetensors") == {"fold": 0} and load_state(tmp_path / "state.pt") == {"iteration": 1}
