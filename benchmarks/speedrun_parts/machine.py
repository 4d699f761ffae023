"""What the machine is, what else it did during a run, and which version of the program ran."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from autoseg.base.contention import now, share_of_others
from autoseg.base.processes import cores
from autoseg.base.runtime import open_runtime

ROOT = Path(__file__).resolve().parents[2]
# What a training is computed by. Other files change without changing a result.
_SOURCES = ("planners", "autoseg/base", "autoseg/grids", "autoseg/nn", "autoseg/preprocessing", "autoseg/batches",
            "autoseg/prediction", "autoseg/training", "autoseg/evaluation")


def version() -> str:
    """Digest of the sources that decide the result of a training."""
    digest = blake2b(digest_size=8)
    for file in sorted(file for folder in _SOURCES for file in (ROOT / folder).rglob("*.py")):
        digest.update(f"{file.relative_to(ROOT)}\n".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


def description(device: str) -> dict[str, Any]:
    runtime = open_runtime(device)
    return {"processor": _processor(), "instructions": torch.backends.cpu.get_cpu_capability(), "cores": cores(),
            "threads": torch.get_num_threads(), "torch": torch.__version__, "device": runtime.device_name,
            "precision": str(runtime.dtype).removeprefix("torch.")}


@contextmanager
def watched(facts: dict[str, Any]) -> Iterator[None]:
    """Fill `facts` with the load before and after what is done within, and, where the system says it, the share of the cores
    that others took.
    """
    facts["load_before"], start, before = os.getloadavg()[0], time.perf_counter(), now()
    try:
        yield
    finally:
        after = now()
        facts.update(load_after=os.getloadavg()[0], wall_seconds=round(time.perf_counter() - start, 2))
        others = share_of_others(before, after)
        if before is not None and after is not None and others is not None:
            facts.update(cpu_seconds=round(after.own - before.own, 2), others=round(others, 3))


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
