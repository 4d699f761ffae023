"""Where the report comes from: versions, machine, seeds, digests, and the commands that make it again."""

import json
import platform
import shlex
from importlib import metadata
from typing import Any

import torch

from autoseg.base.processes import cores
from autoseg.base.version import __version__
from autoseg.reporting.html.blocks import Block, Cell, Commands, Heading, Section, Table, Text, table
from autoseg.reporting.html.gather import Gathered, Model

_PACKAGES = ("numpy", "scipy", "torch", "SimpleITK", "nibabel", "scikit-image", "pydantic", "matplotlib", "jinja2")


def provenance_section(of: Gathered) -> Section:
    """Versions of this machine, what the folds say of themselves, digests of the files that were read, commands."""
    blocks: list[Block] = [Heading("Versions and machine"), _versions(), _agreement(of), Heading("Seeds"), _seeds(of),
                           Heading("Files"), _files(of), Heading("Commands"), *_commands(of)]
    return Section("provenance", "Provenance", tuple(blocks))


def changes(of: Gathered, model: Model) -> tuple[str, ...]:
    """The `key=value` by which the model's configuration differs from that of the plan beside its prepared cases."""
    planned = of.plans.get(model.planner)
    known = planned.configurations.get(model.configuration) if planned is not None else None
    if known is None:
        return ()
    return tuple(f"{key}={json.dumps(value)}" for key, value in
                 _differing(known.model_dump(mode="json"), model.chosen.model_dump(mode="json")))


def _differing(one: dict[str, Any], other: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in other.items():
        if isinstance(value, dict) and isinstance(one.get(key), dict) and key != "options":
            found += _differing(one[key], value, f"{prefix}{key}.")
        elif value != one.get(key):
            found.append((prefix + key, value))
    return found


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


def _agreement(of: Gathered) -> Text:
    """Whether plans were made from the fingerprint that is there."""
    if of.fingerprint is None or not of.fingerprint.digest:
        return Text("The raw data have no digest: there is no fingerprint.")
    plans = [(name, plan) for name, plan in of.plans.items()] + [(model.title, model.plan) for model in of.models]
    other = [name for name, plan in plans if plan.fingerprint_digest not in ("", of.fingerprint.digest)]
    says = (f"These plans were made from other data than the fingerprint: {', '.join(other)}." if other
            else "Every plan was made from this fingerprint." if plans else "")
    return Text(f"Digest of the raw data that were measured: {of.fingerprint.digest}. {says}")


def _seeds(of: Gathered) -> Text | Table:
    rows = [(model.title, Cell(str(result.fold)), str(result.seed), Cell(result.autoseg_version))
            for model in of.models for result in model.finished]
    if not rows:
        return Text("No fold is finished: no seed is known.")
    return table("Seed of each finished fold, and the version of autoseg that finished it. Bootstrap intervals of this "
                 "report use seed 0.", ("Configuration", "Fold", "Seed", "autoseg"), rows)


def _files(of: Gathered) -> Text | Table:
    if not of.digests:
        return Text("No file was read.")
    return table("Files that this report was made from, with the BLAKE2b digest (128 bits) of their content.",
                 ("File", "Digest"), [(name, value) for name, value in of.digests], texts=(1,), limit=1000)


def _commands(of: Gathered) -> list[Block]:
    lines = []
    for planner, plan in of.plans.items():
        budgets = {c.schedule.budget_seconds for c in plan.configurations.values()} - {None}
        budget = f" --budget {max(budgets):g}s" if budgets else ""
        memory = f" --memory {plan.memory_bytes / 2**20:g}M" if plan.memory_bytes else ""
        lines.append(f"autoseg_plan_and_preprocess -d {of.number} -p {shlex.quote(planner)}{budget}{memory}")
    for model in of.models:
        whose = f"{shlex.quote(model.configuration)} {{}} -p {shlex.quote(model.planner)} --seed {{}}"
        sets = "".join(f" --set {shlex.quote(change)}" for change in changes(of, model))
        lines += [f"autoseg_train {of.number} {whose.format(result.fold, result.seed)}{sets}" for result in model.finished]
        lines += [f"autoseg_ablate {of.number} {whose.format(fold.name, fold.ablation.seed)}"
                  + (" --mirroring on" if fold.ablation.mirroring else "")
                  for fold in model.folds if fold.ablation is not None]
    if of.selection is not None:
        lines.append(f"autoseg_find_best_configuration {of.number}")
    lines.append(f"autoseg_report {of.number}")
    return [Commands(tuple(lines)), Text(
        "A plan made on another machine, or with another measured speed, may differ: to repeat a training exactly, copy "
        "the plan files named above. What a training with --set or --budget changed of the plan is written out.",
        quiet=True)]
