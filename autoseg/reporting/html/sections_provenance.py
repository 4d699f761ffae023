"""The origin of the report: versions, machine, seeds, digests, and the commands that repeat it."""

import json
import platform
import shlex
from importlib import metadata
from typing import Any

import torch

from autoseg.base.processes import cores
from autoseg.base.progress import duration
from autoseg.base.version import __version__
from autoseg.reporting.html.blocks import Block, Cell, Commands, Heading, Section, Table, Text, table
from autoseg.reporting.html.gather import Model, ReportData

_PACKAGES = ("numpy", "scipy", "torch", "SimpleITK", "nibabel", "scikit-image", "pydantic", "matplotlib", "jinja2")


def provenance_section(data: ReportData) -> Section:
    """Versions and machine, seeds of the folds, digests of the files that were read, and commands."""
    blocks: list[Block] = [Heading("Versions and machine"), _versions(), _agreement(data), Heading("Seeds"), _seeds(data),
                           Heading("Results"), *_origins(data),
                           Heading("Files"), _files(data), Heading("Commands"), *_commands(data)]
    return Section("provenance", "Provenance", tuple(blocks))


def changes(data: ReportData, model: Model) -> tuple[str, ...]:
    """The differences, as `key=value`, between the configuration of the model and that of its planner's plan."""
    planned = data.plans.get(model.planner)
    known = planned.configurations.get(model.configuration) if planned is not None else None
    if known is None:
        return ()
    return tuple(f"{key}={json.dumps(value)}" for key, value in
                 _differing(known.model_dump(mode="json"), model.planned.model_dump(mode="json")))


def _differing(known: dict[str, Any], other: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    differences = []
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(known.get(key), dict) and key != "options":
            differences += _differing(known[key], value, f"{prefix}{key}.")
        elif value != known.get(key):
            differences.append((prefix + key, value))
    return differences


def _versions() -> Table:
    rows = [("autoseg", __version__), ("Python", platform.python_version())]
    rows += [(name, version) for name in _PACKAGES if (version := _version(name))]
    rows += [("System", f"{platform.system()} {platform.release()}, {platform.machine()}"), ("CPU cores", str(cores()))]
    rows += [(f"GPU {index}", torch.cuda.get_device_name(index)) for index in range(torch.cuda.device_count())]
    if not torch.cuda.is_available():
        rows.append(("GPU", "Apple (mps)" if torch.backends.mps.is_available() else "none that torch can use"))
    return table("The machine and the packages that wrote this report; folds may have been trained elsewhere.",
                 ("What", "Version"), rows, texts=(1,))


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _agreement(data: ReportData) -> Text:
    """Whether all plans were made from the current fingerprint."""
    if data.fingerprint is None or not data.fingerprint.digest:
        return Text("The raw data have no digest: there is no fingerprint.")
    plans = [(name, plan) for name, plan in data.plans.items()] + [(model.title, model.plan) for model in data.models]
    other = [name for name, plan in plans if plan.fingerprint_digest not in ("", data.fingerprint.digest)]
    agreement = (f"These plans were made from other data than the fingerprint: {', '.join(other)}." if other
                 else "Every plan was made from this fingerprint." if plans else "")
    return Text(f"Digest of the measured raw data: {data.fingerprint.digest}. {agreement}")


def _seeds(data: ReportData) -> Text | Table:
    rows = [(model.title, Cell(str(result.fold)), str(result.seed), Cell(result.autoseg_version))
            for model in data.models for result in model.finished]
    if not rows:
        return Text("No fold is finished: no seed is known.")
    return table("Seed of each finished fold, and the version of autoseg that finished it. Bootstrap intervals of this "
                 "report use seed 0.", ("Configuration", "Fold", "Seed", "autoseg"), rows)


def _origins(data: ReportData) -> list[Block]:
    if not data.origins:
        return [Text("No result says what made it: an earlier version of autoseg did.")]
    rows = []
    for folder, run in data.origins:
        made = run.provenance
        versions = ", ".join(f"{name} {made.packages[name]}" for name in ("torch", "numpy") if name in made.packages)
        where = made.machine
        machine = f"{where.system}; {where.processor}, {where.cores} cores, {where.memory_gib:g} GiB, {where.device}"
        taken = "not ended" if made.seconds is None else duration(made.seconds)
        rows.append((f"{folder}: {', '.join(sorted(run.results))}", made.command, f"autoseg {made.autoseg_version}, Python "
                     f"{made.python}, {versions}", machine, f"{made.started}, {taken}"))
    return [table("What made each result: the command, the versions, the machine, the last start (UTC) and how long it "
                  "took. `provenance.json` in the folder of the result also holds the digests of plan, data and models.",
                  ("Result", "Command", "Versions", "Machine", "When"), rows, texts=(1, 2, 3, 4), limit=1000)]


def _files(data: ReportData) -> Text | Table:
    if not data.digests:
        return Text("No file was read.")
    return table("Files that were read for this report, with the BLAKE2b digest (128 bits) of their content.",
                 ("File", "Digest"), [(name, value) for name, value in data.digests], texts=(1,), limit=1000)


def _commands(data: ReportData) -> list[Block]:
    lines = []
    for planner, plan in data.plans.items():
        budgets = [seconds for configuration in plan.configurations.values()
                   if (seconds := configuration.schedule.budget_seconds) is not None]
        budget = f" --budget {max(budgets):g}s" if budgets else ""
        memory = f" --memory {plan.memory_bytes / 2**20:g}M" if plan.memory_bytes else ""
        lines.append(f"autoseg_plan_and_preprocess -d {data.number} -p {shlex.quote(planner)}{budget}{memory}")
    for model in data.models:
        whose = f"{shlex.quote(model.configuration)} {{}} -p {shlex.quote(model.planner)} --seed {{}}"
        sets = "".join(f" --set {shlex.quote(change)}" for change in changes(data, model))
        lines += [f"autoseg_train {data.number} {whose.format(result.fold, result.seed)}{sets}" for result in model.finished]
        lines += [f"autoseg_ablate {data.number} {whose.format(fold.name, fold.ablation.seed)}"
                  + (" --mirroring on" if fold.ablation.mirroring else "")
                  for fold in model.folds if fold.ablation is not None]
    if data.selection is not None:
        lines.append(f"autoseg_find_best_configuration {data.number}")
    lines.append(f"autoseg_report {data.number}")
    return [Commands(tuple(lines)), Text(
        "A plan may differ if it is made on another machine or with another measured speed. To repeat a training exactly, "
        "copy the plan files named above. The commands include what --set or --budget changed in the plan.",
        quiet=True)]
