"""Compare the planners with published plans: how many agree, what differs, milliseconds a plan.

    python benchmarks/plans.py FILE

FILE is a JSON list of entries: a fingerprint, the name of a preset and the plan that nnU-Net answers, for the preset's
own memory or for `memory_gib`. Exit status 1 if any entry differs.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that a checkout runs without being installed

from planners import PLANNERS
from planners.schema.channels import ChannelSpec
from planners.schema.fingerprint import CaseMeasure, Fingerprint
from planners.schema.hardware import GIB, Budget, KnownHardware
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, Plan

PLANNER_OF = {"default": "classic", "ResEncM": "resenc_m", "ResEncL": "resenc_l", "ResEncXL": "resenc_xl"}
NORMALIZATION_OF = {"ct": "CTNormalization", "zscore": "ZScoreNormalization", "zscore_masked": "ZScoreNormalization",
                    "rescale01": "RescaleTo01Normalization", "rgb": "RGBTo01Normalization", "none": "NoNormalization"}
HARDWARE = KnownHardware(memory_bytes=8 * GIB, flops_per_s=1e12, cores=8)


def fingerprint_of(facts: dict[str, Any]) -> Fingerprint:
    """The fingerprint that an entry of the file describes."""
    measures = zip(facts["shapes"], facts["spacings"], strict=True)
    labels = {"background": (0,), **{f"label {value}": (value,) for value in range(1, facts["n_labels"])}}
    return Fingerprint(
        dataset=facts["name"], channels=[ChannelSpec(name=name) for name in facts["channel_names"]],
        labels=LabelSpec(names=labels),
        cases=[CaseMeasure(case=f"case {i}", shape=shape, spacing_mm=spacing, relative_size=facts["relative_size"])
               for i, (shape, spacing) in enumerate(measures)])


def published_form(plan: Plan) -> dict[str, Any]:
    """A plan in the file's words."""
    return {"transpose_forward": list(plan.transpose),
            "configurations": {name: _configuration_form(configuration)
                               for name, configuration in plan.configurations.items()}}


def _configuration_form(configuration: Configuration) -> dict[str, Any]:
    if configuration.previous:
        return {"inherits_from": configuration.data, "previous_stage": configuration.previous}
    own = {"spacing": configuration.spacing_mm, "median_shape": configuration.median_shape,
           "patch_size": configuration.patch, "batch_size": configuration.batch, "batch_dice": configuration.batch_dice,
           "normalization": [NORMALIZATION_OF[part.name] for part in configuration.normalizers],
           "use_mask_for_norm": [part.name == "zscore_masked" for part in configuration.normalizers]}
    shape = configuration.architecture.model_dump(exclude={"kind", "block", "skip", "expansion"})
    return json.loads(json.dumps({**own, **shape}))


def differences(expected: Any, answered: Any, where: str = "") -> list[str]:
    """What differs, one line a value; numbers may differ by rounding in their last digits."""
    if isinstance(expected, dict) and isinstance(answered, dict):
        keys = sorted(expected.keys() | answered.keys())
        return [line for key in keys for line in differences(
            expected.get(key, "absent"), answered.get(key, "absent"), f"{where}.{key}".lstrip("."))]
    if isinstance(expected, list) and isinstance(answered, list) and len(expected) == len(answered):
        lines = [differences(*pair) for pair in zip(expected, answered, strict=True)]
        return [f"{where}: expected {expected}, answered {answered}"] if any(lines) else []
    if isinstance(expected, (int, float)) and isinstance(answered, (int, float)):
        same = math.isclose(expected, answered, rel_tol=1e-12)
    else:
        same = expected == answered
    return [] if same else [f"{where}: expected {expected}, answered {answered}"]


def compare(entries: list[dict[str, Any]]) -> tuple[list[str], list[float]]:
    """For each entry what differs, as one text (empty: nothing), and the milliseconds that planning took."""
    faults, times_ms = [], []
    for entry in entries:
        planner = PLANNERS.get(PLANNER_OF[entry["preset"]])
        fingerprint = fingerprint_of(entry["fingerprint"])
        memory_gib = entry.get("memory_gib")
        budget = Budget(memory_bytes=None if memory_gib is None else round(memory_gib * GIB))
        start = time.perf_counter()
        plan = planner(fingerprint, HARDWARE, budget)
        times_ms.append(1000 * (time.perf_counter() - start))
        faults.append("\n".join(differences(entry["plan"], published_form(plan))))
    return faults, times_ms


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, help="JSON list of {fingerprint, preset, plan[, memory_gib]}")
    entries = json.loads(parser.parse_args(arguments).file.read_text(encoding="utf-8"))
    faults, times_ms = compare(entries)
    for entry, fault in zip(entries, faults, strict=True):
        if fault:
            print(f"{entry['fingerprint']['name']}, {entry['preset']}:")
            print("\n".join(f"  {line}" for line in fault.splitlines()))
    matching = sum(not fault for fault in faults)
    print(f"{matching} of {len(entries)} plans match; "
          f"{sum(times_ms) / max(1, len(entries)):.1f} ms a plan, {max(times_ms, default=0):.1f} ms the slowest")
    return 0 if matching == len(entries) else 1


if __name__ == "__main__":
    sys.exit(main())
