"""What a training leaves on the disk: weights as safetensors, and the state that resuming needs.

Nothing that is read back is unpickled: weights are safetensors, the state is loaded by torch with `weights_only=True`.
Both are written atomically, the state's predecessor is kept, and a state that cannot be read falls back to it.

Neither format notices a changed bit when it is read: weights carry a digest of their own, and of a state the checksums of
the archive are compared.
"""

import json
import logging
import os
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from autoseg.base.errors import UserError
from autoseg.workspace.files import staged, write_atomically

logger = logging.getLogger(__name__)


_FACTS, _DIGEST = "autoseg", "sha256"  # the keys of the header's metadata
_VERSION, _NEWEST = "schema_version", 1  # of the facts, and of a state


def save_weights(path: Path, weights: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write named tensors, with JSON `facts` about them in the header, and the digest of both."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}
    text = json.dumps({_VERSION: _NEWEST, **facts})
    header = {_FACTS: text, _DIGEST: _digest(plain, text)}
    content = _with_ordered_metadata(save(plain, metadata=header))
    # Written by Python, which says what the disk lacks.
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def _with_ordered_metadata(content: bytes) -> bytes:
    """A file with the metadata of its header in order: safetensors writes them in another one each time, so that files of
    the same weights would differ. The length stays.
    """
    start, length = 8, int.from_bytes(content[:8], "little")
    header = json.loads(content[start : start + length])
    metadata = dict(sorted(header.pop("__metadata__").items()))
    text = json.dumps({"__metadata__": metadata, **header}, separators=(",", ":"), ensure_ascii=False)
    return b"".join((content[:start], text.encode().ljust(length), memoryview(content)[start + length :]))


def load_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Named tensors on the CPU, and the facts. A UserError where the file is missing or damaged: weights of earlier versions
    have no digest, and are believed.
    """
    with _opened(path) as file:
        metadata = file.metadata() or {}
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
    text = metadata.get(_FACTS, "{}")
    if not _is_whole(metadata, weights, text):
        raise _damaged(path, "tensors that do not match their digest")
    return weights, _facts(path, text)


def read_facts(path: Path) -> dict[str, Any]:
    """The facts alone, from the header: the tensors are neither read nor verified. Raises UserError as `load_weights`."""
    with _opened(path) as file:
        return _facts(path, (file.metadata() or {}).get(_FACTS, "{}"))


def read_digest(path: Path) -> str:
    """The digest of weights that `load_weights` has verified, from the header; of weights of earlier versions, which have
    none, that of the tensors. Raises UserError as `load_weights`.
    """
    with _opened(path) as file:
        metadata = file.metadata() or {}
        if _DIGEST in metadata:
            return str(metadata[_DIGEST])
        return _digest({name: file.get_tensor(name) for name in file.keys()}, metadata.get(_FACTS, "{}"))  # noqa: SIM118


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    if not path.is_file():
        raise UserError("the trained weights are missing", where=path, do="train this fold first")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, ValueError) as error:
        raise _damaged(path, error) from error


def _facts(path: Path, text: str) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads(text)
    except json.JSONDecodeError as error:
        raise _damaged(path, error) from error
    _check_version(path, facts.pop(_VERSION, 1))
    return facts


def _check_version(path: Path, version: Any) -> None:
    """A UserError for what a later version wrote. Earlier ones did not number what they wrote."""
    if not isinstance(version, int) or not 1 <= version <= _NEWEST:
        raise UserError("another version of autoseg wrote this file", where=path, found=f"{_VERSION} {version}",
                        expected=f"at most {_NEWEST}", do="update autoseg, or train this fold again with --restart")


def _is_whole(metadata: Mapping[str, str], weights: Mapping[str, torch.Tensor], text: str) -> bool:
    """Whether the digest is right. Without one the keys are those of an earlier version: a damaged key is none of them."""
    if _DIGEST not in metadata:
        return set(metadata) <= {_FACTS}
    return set(metadata) == {_FACTS, _DIGEST} and metadata[_DIGEST] == _digest(weights, text)


def _digest(weights: Mapping[str, torch.Tensor], text: str) -> str:
    """Of the facts, and of the name, type, shape and bytes of every tensor."""
    state = sha256(text.encode())
    for name in sorted(weights):
        tensor = weights[name]
        state.update(f"\0{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        if tensor.numel():  # an empty one cannot be viewed as bytes
            state.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def _damaged(path: Path, found: object) -> UserError:
    return UserError("the trained weights are damaged", where=path, found=found,
                     do="copy this file again from where it is whole, or train this fold again with --restart")


def save_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write a resumable state of tensors, numbers, strings, lists and dicts; the last one becomes `*_previous`."""
    with staged(path) as temporary:
        write_atomically(temporary, lambda file: _write_state(file, state))
        if path.is_file():
            os.replace(path, _previous(path))


def _write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write it through a file of Python. Torch raises an error of its own after the one that says what the disk lacks."""
    with open(path, "wb") as file:
        try:
            torch.save({_VERSION: _NEWEST, **state}, file)
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def load_state(path: Path) -> dict[str, Any] | None:
    """The newest readable state, or None where there is none; a damaged one is logged and its predecessor taken. A UserError
    for one of a later version.
    """
    for candidate in (path, _previous(path)):
        if not candidate.is_file():
            continue
        try:
            with zipfile.ZipFile(candidate) as archive:
                if damaged := archive.testzip():
                    raise ValueError(f"{damaged} does not match its checksum")
            state: dict[str, Any] = torch.load(candidate, map_location="cpu", weights_only=True)
        except Exception as error:  # zipfile and torch raise several kinds for a damaged archive
            logger.warning("%s is damaged (%s); the state before it is used", candidate, error)
            continue
        _check_version(candidate, state.pop(_VERSION, 1))
        return state
    return None


def _previous(path: Path) -> Path:
    return path.with_name(f"{path.stem}_previous{path.suffix}")
