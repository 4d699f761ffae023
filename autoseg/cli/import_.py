"""autoseg_import: make a raw dataset of what others have."""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.cli import common

if TYPE_CHECKING:
    from autoseg.interop.foreign import ReadOptions
    from autoseg.interop.importing import Imported
    from autoseg.interop.recipe import Recipe
    from planners.schema.plan import Plan

_FIGURES = 3  # published ones that are printed
_READ = ("--channel", "--label", "--name", "--splits")


@dataclass(frozen=True)
class _Source:
    """What follows a source, which of the options below it takes, and what it is."""

    words: str
    flags: tuple[str, ...]
    help: str


_SOURCES = {
    "list": _Source("[NAME]", (), "the recipes, or all that one says"),
    "recipe": _Source("NAME SRC", (), "a public dataset by its recipe, or by a JSON file of your own"),
    "msd": _Source("SRC", ("--name", "--splits"), "a task of the Decathlon"),
    "nnunet_v1": _Source("SRC", ("--name", "--splits"), "a folder TaskNNN_Name"),
    "nnunet_v2": _Source("SRC", ("--name", "--splits", "--plans"), "a folder DatasetNNN_Name"),
    "bids": _Source("SRC", (*_READ, "--run", "--derivative"), "a tree of BIDS"),
    "monai_datalist": _Source("SRC", ("--channel", "--name", "--splits", "--root"), "a JSON list of MONAI"),
    "csv": _Source("SRC", (*_READ, "--id", "--group", "--fold", "--root"), "a table with a column per channel")}


def parser() -> argparse.ArgumentParser:
    command = common.parser(
        "Make a raw dataset of what others have: a public dataset by a recipe, or what another program has written."
        "\nFiles are linked where they can be used as they are, and everything is checked as by autoseg_verify.",
        "example: autoseg_import nnunet_v2 ~/nnUNet_raw/Dataset004_Hippocampus -d 4")
    sources = "; ".join(f"{name} {source.words}: {source.help}" for name, source in _SOURCES.items())
    command.add_argument("source", choices=tuple(_SOURCES), metavar="SOURCE", help=sources)
    command.add_argument("words", nargs="*", metavar="WORD", help="what follows the source: SRC is a folder, of "
                         "monai_datalist and csv a file")
    command.add_argument("-d", "--dataset", type=common.positive, metavar="N",
                         help="number of the new dataset (default: the first that is free)")
    command.add_argument("--copy", action="store_true", help="copy files in place of linking them")
    command.add_argument("--name", metavar="NAME", help="name of the new dataset (default: that of the folder or file)")
    command.add_argument("--channel", action="append", metavar="C", help="a channel; repeat it for each, in their order: of "
                         "csv COLUMN or NAME=COLUMN, of monai_datalist its name, of bids what names the image, such as T1w")
    command.add_argument("--label", action="append", metavar="L", help="the labels: of csv a column, or none; of bids what "
                         "names the masks, such as dseg (repeat it for binary masks)")
    command.add_argument("--id", metavar="COLUMN", help="of csv: the column of the cases' names")
    command.add_argument("--group", metavar="COLUMN", help="of csv: the column that says which cases are of one patient")
    command.add_argument("--fold", metavar="COLUMN", help="of csv: the column of the folds, 0, 1, ... or train, val, test")
    command.add_argument("--run", metavar="N", help="of bids: the run that is taken, where a case has several")
    command.add_argument("--derivative", metavar="NAME", help="of bids: the folder of derivatives that "
                         "holds the labels")
    command.add_argument("--root", type=Path, metavar="DIR", help="of csv and monai_datalist: where paths begin (default: "
                         "the folder of the file)")
    command.add_argument("--splits", type=Path, metavar="FILE", help="folds, as splits_final.json of nnU-Net (default: "
                         "those that lie with the data or in nnUNet_preprocessed)")
    command.add_argument("--plans", type=Path, metavar="FILE", help="of nnunet_v2: the nnUNetPlans.json of "
                         "nnUNet_preprocessed, which becomes a plan here under its plans_name (-p)")
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> int:
    _refuse_what_has_no_effect(options)
    if options.source == "list":
        return _list(options)
    return _import(options)


def _refuse_what_has_no_effect(options: argparse.Namespace) -> None:
    """A UserError for a number of words that the source does not take, and for an option that it does not know."""
    from autoseg.base.errors import UserError

    source = _SOURCES[options.source]
    expected = f"autoseg_import {options.source} {source.words}"
    most = len(source.words.split())
    if not (0 if source.words.startswith("[") else most) <= len(options.words) <= most:
        do = "autoseg_import list names the recipes" if options.source == "recipe" else None
        raise UserError(f"{options.source} takes {source.words}", found=" ".join(options.words) or "nothing",
                        expected=expected, do=do)
    known = {*source.flags, *(() if options.source == "list" else ("--dataset", "--copy", "--workers"))}
    own = ("dataset", "copy", "workers", "name", "channel", "label", "id", "group", "fold", "run", "derivative", "root",
           "splits", "plans")
    idle = [f"--{name}" for name in own if getattr(options, name) not in (None, False) and f"--{name}" not in known]
    if idle:
        raise UserError(f"{options.source} takes no {idle[0]}", found=" ".join(idle), expected=f"{expected} "
                        f"{' '.join(sorted(known))}".strip(), do="leave it out")


def _list(options: argparse.Namespace) -> int:
    from autoseg.interop.catalogue import find_recipe, recipes

    if options.words:
        print("\n".join(_described(find_recipe(options.words[0]))))
        return 0
    rows = [(recipe.name, recipe.title) for recipe in recipes()]
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:{width}}  {title}" for name, title in rows))
    return 0


def _import(options: argparse.Namespace) -> int:
    from autoseg import pipeline
    from autoseg.cli.findings_table import checked
    from autoseg.interop.catalogue import find_recipe
    from autoseg.interop.import_plans import import_plans, read_nnunet_plans
    from autoseg.interop.importing import import_dataset, import_foreign
    from autoseg.interop.neighbours.read import read_foreign
    from autoseg.workspace.names import Workspace

    how = {"number": options.dataset, "copy": options.copy, "workers": common.start_workers(options)}
    workspace, source = Workspace.open(options.home), Path(options.words[-1])
    if options.plans is not None:
        read_nnunet_plans(options.plans, source, source.absolute().name)  # its faults before hours of work
    recipe = find_recipe(options.words[0]) if options.source == "recipe" else None
    if recipe is not None:
        imported = import_dataset(recipe, source, workspace, **how)
    else:
        imported = import_foreign(read_foreign(options.source, source, _read_options(options)), source, workspace, **how)
    held_out = f", {imported.n_held_out} held out (imagesTs)" * bool(imported.n_held_out)
    cases = f"{imported.n_training} case{'s' * (imported.n_training != 1)}"
    print(f"{cases}{' without labels' * imported.images_alone}{held_out}: {imported.folder}", flush=True)
    for warning in imported.warnings:
        print(f"warning: {warning}")
    faults = list(imported.faults)
    if not imported.images_alone:
        report = pipeline.verify(imported.dataset, home=options.home, workers=options.workers)
        faults += report.faults
        print(checked(len(report.faults), len(report.warnings), _number(imported)))
    plan = None if options.plans is None else import_plans(options.plans, workspace, imported.dataset)
    print("\n".join([*([] if recipe is None else _remarks(recipe)), *_next_commands(imported, options.home, plan)]),
          flush=True)
    return common.list_faults(faults)


def _read_options(options: argparse.Namespace) -> "ReadOptions":
    from autoseg.interop.foreign import ReadOptions

    return ReadOptions(name=options.name or "", channels=tuple(options.channel or ()), labels=tuple(options.label or ()),
                       id=options.id or "", group=options.group or "", fold=options.fold or "", run=options.run or "",
                       derivative=options.derivative or "", root=options.root, splits=options.splits)


def _number(imported: "Imported") -> int:
    return int(imported.dataset.removeprefix("Dataset").split("_")[0])


def _remarks(recipe: "Recipe") -> list[str]:
    lines = [f"licence: {recipe.licence}; cite: {recipe.citation or recipe.home_page}"]
    lines += [f"phases: {recipe.phases}"] if recipe.phases else []
    lines += [f"note: {note}" for note in recipe.notes]
    lines += [f"not verified on the data: {claim}" for claim in recipe.unverified]
    return lines + [f"to compare with: {figure.figure} ({figure.source})" for figure in recipe.published[:_FIGURES]]


def _next_commands(imported: "Imported", home: str | None, plan: "Plan | None") -> list[str]:
    number, where = _number(imported), f" --home {home}" if home else ""
    commands = [f"autoseg_plan_and_preprocess -d {number}", f"autoseg_run {number}"]
    if imported.images_alone:
        commands = [f"autoseg_pretrain -d {number}"]
    elif plan is not None:
        commands = [f"autoseg_plan_and_preprocess -d {number} -p {plan.planner}",
                    f"autoseg_train {number} {next(iter(plan.configurations))} all-folds -p {plan.planner}"]
    return ["next:", *(f"  {command}{where}" for command in commands)]


def _described(recipe: "Recipe") -> list[str]:
    """All that a recipe says, for people."""
    lines = [f"{recipe.name}: {recipe.title}", f"data: {recipe.home_page}", "expected below the folder:",
             *(f"  {line}" for line in recipe.layout),
             f"channels: {', '.join(channel.name for channel in recipe.channels)}",
             f"labels: {', '.join(f'{name} {value}' for name, value in recipe.labels.names.items())}"]
    if recipe.counts:
        lines.append("cases: " + ", ".join(f"{n} {kind.replace('_', ' ')}" for kind, n in recipe.counts.items()))
    if recipe.table is not None and recipe.table.outcomes:
        lines.append(f"outcomes: {', '.join(recipe.table.outcomes)}")
    return lines + _remarks(recipe)


if __name__ == "__main__":
    sys.exit(main())
