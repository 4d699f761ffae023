"""What every stage is given: folders, interpreters, sizes; and measurements that are kept, so that a run can go on."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .measure import Usage, median, run_measured

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
Measured = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """One comparison. `home` keeps everything; with `small`, synthetic images have a quarter of each edge."""

    home: Path
    data: Path
    reference: Path  # the interpreter that has nnunetv2
    repeats: int = 3
    hippocampi: int = 200
    ct_cases: int = 8
    sarcomas: int = 31
    predicted: int = 60
    small: bool = False
    threads: int = 2
    steps: int = 5
    budget: str = "5m"
    reference_log: Path | None = None

    def edges(self, *edges: int) -> tuple[int, ...]:
        """The shape of a synthetic image."""
        return tuple(edge // 4 for edge in edges) if self.small else edges

    def workspace(self, name: str) -> "SharedWorkspace":
        return SharedWorkspace(self, self.home / name)

    def once(self, stage: str, key: str, measure: Callable[[], Measured]) -> Measured:
        """What `measure` gives, read from the disk where it was measured before."""
        path = self.home / "measured" / stage / f"{key}{'_small' if self.small else ''}.json"
        if not path.is_file():
            result = measure()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(result, indent=1), encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))

    def sequential(self, stage: str, **sides: Callable[[], Measured]) -> dict[str, list[Measured]]:
        """Measure A B A B ..., each side as often as `repeats` says."""
        results: dict[str, list[Measured]] = {name: [] for name in sides}
        for repeat in range(self.repeats):
            for name, measure in sides.items():
                print(f"  {stage}: {name}, {repeat + 1} of {self.repeats}", flush=True)
                results[name].append(self.once(stage, f"{name}_{repeat}", measure))
                print("   ", {key: round(value, 3) for key, value in results[name][-1].items()
                              if isinstance(value, float | int)}, flush=True)
        return results


@dataclass(frozen=True)
class SharedWorkspace:
    """A workspace of autoseg, which is also a set of nnU-Net's folders over the same raw data."""

    bench: Bench
    home: Path

    @property
    def raw(self) -> Path:
        return self.home / "raw"

    def prepared(self, dataset: str) -> Path:
        return self.home / "prepared" / dataset

    def preprocessed(self, dataset: str) -> Path:
        return self.home / "nnunet_preprocessed" / dataset

    @property
    def environment(self) -> dict[str, str]:
        return {"nnUNet_raw": str(self.raw), "nnUNet_preprocessed": str(self.home / "nnunet_preprocessed"),
                "nnUNet_results": str(self.home / "nnunet_results"), "MPLBACKEND": "Agg"}

    def ours(self, command: str, *arguments: str) -> Usage:
        """Run a command of ours, from the start of its process to its end."""
        return self._run([sys.executable, "-m", f"autoseg.cli.{command}", *arguments], {"PYTHONPATH": str(ROOT)},
                         f"ours_{command}")

    def theirs(self, command: str, *arguments: str, **environment: str) -> Usage:
        """Run one of nnU-Net's console scripts."""
        return self._run([str(self.bench.reference.parent / command), *arguments], environment, command)

    def our_worker(self, do: str, **job: Any) -> Measured:
        """Run a function of `ours.py` in a process of its own; what it says, with the peak memory of the process."""
        return self._worker([sys.executable], "ours.py", {"PYTHONPATH": str(ROOT), "GOMP_SPINCOUNT": "1000"}, do, job)

    def their_worker(self, do: str, environment: Mapping[str, str] | None = None, **job: Any) -> Measured:
        """Likewise of `theirs.py`, in nnU-Net's interpreter."""
        return self._worker([str(self.bench.reference)], "theirs.py", environment or {}, do, job)

    def _worker(self, interpreter: Sequence[str], script: str, environment: Mapping[str, str], do: str, job: Measured
                ) -> Measured:
        self.home.mkdir(parents=True, exist_ok=True)
        paths = [self.home / f"{script}_{do}_{os.getpid()}_{what}.json" for what in ("job", "result")]
        paths[0].write_text(json.dumps({"home": str(self.home), **job}), encoding="utf-8")
        try:
            usage = self._run([*interpreter, HERE / script, do, *paths], environment, f"{script}_{do}")
            return {"process_seconds": usage.seconds, "core_seconds": usage.core_seconds, "peak_bytes": usage.peak_bytes,
                    **json.loads(paths[1].read_text(encoding="utf-8"))}
        finally:
            for path in paths:
                path.unlink(missing_ok=True)

    def _run(self, command: Sequence[str | Path], environment: Mapping[str, str], name: str) -> Usage:
        self.home.mkdir(parents=True, exist_ok=True)
        return run_measured([str(part) for part in command], {**self.environment, **environment},
                            self.home / "logs" / f"{name}.txt", self.home)


def plain(usage: Usage) -> Measured:
    return asdict(usage)


def middle(results: Sequence[Measured], key: str = "seconds") -> float:
    return median([result[key] for result in results])
