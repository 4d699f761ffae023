"""What a training leaves on the disk: weights as safetensors, and the state that resuming needs.

Nothing that is read back is unpickled: weights are safetensors, the state is loaded by torch with `weights_only=True`.
Both are written atomically, the state's predecessor is kept, and a state that cannot be read falls back to it.
"""

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from autoseg.base.errors import UserError
from autoseg.workspace.files import write_atomically

logger = logging.getLogger(__name__)


def save_weights(path: Path, weights: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write named tensors, with JSON `facts` about them in the header."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    header = {"autoseg": json.dumps(dict(facts))}
    write_atomically(path, lambda temporary: save_file(plain, temporary, metadata=header))


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Named tensors on the CPU, and the facts; a missing or damaged file is a UserError."""
    if not path.is_file():
        raise UserError("the trained weights are missing", where=path, do="train this fold first")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get("autoseg", "{}"))
            return {name: file.get_tensor(name) for name in file.keys()}, facts  # noqa: SIM118 (no iterator)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise UserError("the trained weights are damaged", where=path, found=error,
                        do="train this fold again with --restart") from error


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a resumable state of tensors, numbers, strings, lists and dicts; the last one becomes `*_previous`."""
    if path.is_file():
        os.replace(path, _previous(path))
    write_atomically(path, lambda temporary: torch.save(dict(state), temporary))


def load_state(path: Path) -> dict[str, Any] | None:
    """The newest readable state, or None where there is none; a damaged one is logged and its predecessor taken."""
    for candidate in (path, _previous(path)):
        if not candidate.is_file():
            continue
        try:
            state: dict[str, Any] = torch.load(candidate, map_location="cpu", weights_only=True)
            return state
        except Exception as error:  # torch raises several kinds for a damaged archive
            logger.warning("%s is damaged (%s); the state before it is used", candidate, error)
    return None


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.stem}_previous{path.suffix}")
