"""Weights and states: read only when whole."""

import pytest
import torch

from autoseg.base.errors import UserError
from autoseg.workspace.checkpoint import load_state, load_weights, save_state, save_weights


def test_weights_and_their_facts_survive_a_round_trip(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    save_weights(path, {"w": torch.arange(3.0)}, {"fold": 0, "dataset": "Dataset004_Ä"})
    weights, facts = load_weights(path)
    assert torch.equal(weights["w"], torch.arange(3.0))
    assert facts == {"fold": 0, "dataset": "Dataset004_Ä"}


def test_missing_weights_say_what_to_do(tmp_path):
    with pytest.raises(UserError, match="train this fold first"):
        load_weights(tmp_path / "checkpoint.safetensors")


@pytest.mark.parametrize("kept", [0, 4, 60])
def test_damaged_weights_are_refused(tmp_path, kept):
    path = tmp_path / "checkpoint.safetensors"
    save_weights(path, {"w": torch.arange(30.0)}, {})
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(UserError, match="damaged"):
        load_weights(path)


def test_a_state_keeps_its_predecessor(tmp_path):
    path = tmp_path / "state.pt"
    save_state(path, {"iteration": 1})
    save_state(path, {"iteration": 2})
    assert load_state(path) == {"iteration": 2}
    path.write_bytes(b"nothing")
    assert load_state(path) == {"iteration": 1}


def test_no_state_is_none(tmp_path):
    assert load_state(tmp_path / "state.pt") is None


def test_a_state_that_would_run_code_is_not_loaded(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("executed",)

    torch.save({"x": Evil()}, tmp_path / "state.pt")
    assert load_state(tmp_path / "state.pt") is None
