"""Two folders of results: the same files with the same content, apart from times and the use of memory."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

# Keys whose values each run measures anew, the times of raw files, and digests of what has such keys.
MEASURED = re.compile(r"seconds|memory_bytes|^(others_share|disturbance|raw_files|checksum|digest|file_digest)$")


def contents(root: Path) -> dict[str, object]:
    """What each file below a folder holds, in a form that two runs have in common."""
    return {str(path.relative_to(root)): content(path) for path in sorted(root.rglob("*")) if path.is_file()}


def differences(root: Path, expected: dict[str, object]) -> str:
    """Which files are missing, too many, or other than expected; nothing where there are none."""
    present = contents(root)
    texts = [f"missing: {sorted(set(expected) - set(present))}" if set(expected) - set(present) else "",
             f"too many: {sorted(set(present) - set(expected))}" if set(present) - set(expected) else ""]
    texts += [f"{name} differs" for name in sorted(set(present) & set(expected)) if present[name] != expected[name]]
    return "; ".join(filter(None, texts))


def content(path: Path) -> object:
    if path.name == "provenance.json":  # who made what when, which a command that is given twice says twice
        return sorted({name for run in json.loads(path.read_text())["runs"] for name in run["results"]})
    if path.suffix == ".json":
        return _unmeasured(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [_unmeasured(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".safetensors":
        from autoseg.workspace.checkpoint import load_weights

        weights, facts = load_weights(path)
        return [(name, _digest(tensor.numpy().tobytes())) for name, tensor in sorted(weights.items())], _unmeasured(facts)
    if path.suffix == ".pt":
        import torch

        return _unmeasured(torch.load(path, weights_only=True))
    if path.suffix == ".png":
        return _picture(path)
    if path.suffix == ".html":
        return re.sub(r"[0-9.]+ (?:s|min|h|ms)\b|\d{4}-\d\d-\d\d[T ][\d:.]+", "TIME", path.read_text())
    return _digest(path.read_bytes())


def _picture(path: Path) -> object:
    """The size of curves, whose title says seconds; else all pixels."""
    import PIL.Image

    with PIL.Image.open(path) as image:
        image.load()
        return image.size if path.name == "curves.png" else (image.size, _digest(image.tobytes()))


def _unmeasured(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unmeasured(entry) for key, entry in value.items() if not MEASURED.search(str(key))}
    if isinstance(value, list | tuple):
        return [_unmeasured(entry) for entry in value]
    if hasattr(value, "numpy"):
        return _digest(value.detach().contiguous().reshape(-1).numpy().tobytes())
    return value


def _digest(content_bytes: bytes) -> str:
    return hashlib.sha256(content_bytes).hexdigest()
