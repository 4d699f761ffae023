"""Weights and states: read only when whole."""

import random

import pytest
import torch
from safetensors.torch import save_file

from autoseg.base.errors import UserError
from autoseg.workspace.checkpoint import load_state, load_weights, read_facts, save_state, save_weights


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


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.int64])
def test_one_changed_bit_anywhere_in_the_weights_is_noticed(tmp_path, dtype):
    path = tmp_path / "checkpoint.safetensors"
    weights = {"w": torch.arange(30).to(dtype), "scalar": torch.tensor(1, dtype=dtype)}
    facts = {"fold": 0, "training": ["a"]}
    save_weights(path, weights, facts)
    whole = path.read_bytes()
    for bit in random.Random(0).sample(range(8 * len(whole)), 400):
        path.write_bytes(flipped(whole, bit))
        try:
            read, told = load_weights(path)
        except UserError:
            continue
        assert told == facts and all(torch.equal(read[name], weights[name]) for name in weights), f"bit {bit}"


def test_weights_of_an_earlier_version_have_no_digest_and_load(tmp_path):
    save_file({"w": torch.ones(2)}, tmp_path / "checkpoint.safetensors", metadata={"autoseg": '{"fold": 3}'})
    weights, facts = load_weights(tmp_path / "checkpoint.safetensors")
    assert torch.equal(weights["w"], torch.ones(2))
    assert facts == {"fold": 3} == read_facts(tmp_path / "checkpoint.safetensors")


def test_a_state_with_a_changed_bit_falls_back_to_its_predecessor(tmp_path, caplog):
    path = tmp_path / "state.pt"
    save_state(path, {"w": torch.zeros(1000)})
    save_state(path, {"w": torch.ones(1000)})
    path.write_bytes(flipped(path.read_bytes(), 8 * path.read_bytes().index(torch.ones(1000).numpy().tobytes())))
    state = load_state(path)
    assert state is not None and torch.equal(state["w"], torch.zeros(1000))
    assert "does not match its checksum" in caplog.text


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
