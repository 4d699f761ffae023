"""Training and prediction on a GPU: precision, iterations a second, memory, as one Markdown table.

    python benchmarks/gpu.py                                   # synthetic data of the size of Dataset004_Hippocampus
    python benchmarks/gpu.py --prepared HOME/prepared/Dataset004_Hippocampus
    python benchmarks/gpu.py --train HOME/prepared/Dataset004_Hippocampus --budget 6m
    python benchmarks/gpu.py --device cpu                      # everything in small

Needs torch, NumPy and the package with what it imports to train; no library of image files. Every row is printed when it
is known. What this device cannot measure is said to be `not measured`; a part that fails is one row.
"""

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that a checkout runs without being installed
sys.path.insert(0, str(Path(__file__).resolve().parent))

from autoseg.base.processes import cores
from autoseg.base.runtime import Runtime, open_runtime
from gpu_parts.learning import measure_precision, train_within
from gpu_parts.memory import measure_memory
from gpu_parts.plans import Setting, given_setting, hippocampus_plan, large_plan, made_cases, tiny_plan
from gpu_parts.steps import Effort, measure_compiled_plain, measure_speed
from gpu_parts.table import Table
from planners.resenc import RESENC_L

_UNITS = {"s": 1, "m": 60, "h": 3600}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--prepared", type=Path, help="a prepared dataset's folder, planned by classic")
    parser.add_argument("--train", type=Path, help="a prepared dataset's folder: its fold 0 is trained, and nothing else")
    parser.add_argument("--budget", default="6m", help="of --train, such as 6m")
    parser.add_argument("--limit", default="6m", help="after this time no further part begins")
    options = parser.parse_args(arguments)
    runtime = open_runtime(options.device)
    budget, limit = seconds_of(options.budget), seconds_of(options.limit)
    table = Table(runtime.device, limit)
    if options.train is not None:
        with tempfile.TemporaryDirectory() as work:
            table.part("training within a budget", lambda: train_within(table, options.train, budget, runtime, Path(work)))
    else:
        measure(table, runtime, options.prepared)
    print("\n" + table.markdown())
    return 0


def measure(table: Table, runtime: Runtime, prepared: Path | None) -> None:
    """Everything, what matters most first."""
    cuda = runtime.device.type == "cuda"
    effort = Effort(seconds=3.0, warm_up=8, at_once=10, workers=min(12, cores())) if cuda else Effort(0.2, 1, 1, 0)
    small = _small(cuda, prepared)
    modes = ("default", "reduce-overhead") if cuda else ()
    table.part("speed, small patch", lambda: measure_speed(table, small, runtime, effort, modes=modes))
    large = _large(cuda)
    few = replace(effort, at_once=2, warm_up=4, workers=None) if cuda else effort
    table.part("speed, large patch", lambda: measure_speed(table, large, runtime, few, modes=modes[:1]))
    table.part("precision", lambda: measure_precision(table, _with_validation(small, cuda), runtime, 250 if cuda else 4))
    table.part("memory", lambda: measure_memory(table, runtime, small=not cuda))
    if cuda:
        table.part("plain step compiled", lambda: measure_compiled_plain(table, small, runtime, effort))


def _small(cuda: bool, prepared: Path | None) -> Setting:
    if prepared is not None:
        return given_setting(prepared)
    if cuda:
        return Setting("Hippocampus-like classic", hippocampus_plan(), made_cases(64, (36, 50, 35)))
    return Setting("tiny plain U-Net", tiny_plan(), made_cases(3, (20, 18, 16)))


def _large(cuda: bool) -> Setting:
    if cuda:
        return Setting("ResEnc-L", large_plan(), made_cases(6, (200, 200, 200)))
    return Setting("tiny residual U-Net", tiny_plan(RESENC_L), made_cases(2, (20, 18, 16)))


def _with_validation(setting: Setting, cuda: bool) -> Setting:
    """With cases to predict: those that were given, at most twenty, else made ones."""
    if setting.validation:
        return replace(setting, validation=setting.validation[:20])
    return replace(setting, validation=made_cases(8, (36, 50, 35), seed=1) if cuda else made_cases(2, (20, 18, 16), seed=1))


def seconds_of(text: str) -> float:
    """The seconds of `90s`, `6m` or `1h`."""
    return float(text[:-1]) * _UNITS[text[-1]] if text[-1] in _UNITS else float(text)


if __name__ == "__main__":
    sys.exit(main())
