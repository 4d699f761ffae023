"""autoseg_import: make a raw dataset of what others publish."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.cli import common

if TYPE_CHECKING:
    from autoseg.interop.importing import Imported
    from autoseg.interop.recipe import Recipe

_FIGURES = 3  # published ones that are printed


def parser() -> argparse.ArgumentParser:
    command = common.parser("Make a raw dataset of a public one, as it was downloaded and unpacked: files are found by a "
                            "recipe, linked where they can be used as they are,\nand checked as by autoseg_verify.",
                            "example: autoseg_import recipe KiTS23 ~/Downloads/kits23")
    command.add_argument("source", choices=tuple(_SOURCES), metavar="SOURCE",
                         help="recipe: a public dataset by its recipe; list: name the recipes that there are")
    command.add_argument("words", nargs="*", metavar="WORD",
                         help="of recipe: NAME SRC, the recipe (or a JSON file of your own) and the folder of the data; of "
                         "list: nothing, or NAME for all that one recipe says")
    command.add_argument("-d", "--dataset", type=common.positive, metavar="N",
                         help="number of the new dataset (default: the first that is free)")
    command.add_argument("--copy", action="store_true", help="copy files in place of linking them")
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> int:
    return _SOURCES[options.source](options)


def _list(options: argparse.Namespace) -> int:
    from autoseg.interop.catalogue import find_recipe, recipes

    if options.words:
        print("\n".join(_described(find_recipe(options.words[0]))))
        return 0
    rows = [(recipe.name, recipe.title) for recipe in recipes()]
    width = max(len(name) for name, _ in rows)
    print("\n".join(f"{name:{width}}  {title}" for name, title in rows))
    return 0


def _recipe(options: argparse.Namespace) -> int:
    from autoseg import pipeline
    from autoseg.base.errors import UserError
    from autoseg.base.processes import cores, expect_workers
    from autoseg.interop.catalogue import find_recipe
    from autoseg.interop.importing import import_dataset
    from autoseg.workspace.names import Workspace

    if len(options.words) != 2:
        raise UserError("a recipe and a folder are needed", found=" ".join(options.words) or "neither",
                        expected="autoseg_import recipe NAME SRC", do="autoseg_import list names the recipes")
    if options.workers != 1:
        expect_workers()
    recipe = find_recipe(options.words[0])
    imported = import_dataset(recipe, Path(options.words[1]), Workspace.open(options.home), number=options.dataset,
                              copy=options.copy, workers=options.workers or cores())
    held_out = f", {imported.n_held_out} held out (imagesTs)" * bool(imported.n_held_out)
    print(f"{imported.n_training} cases{' without labels' * imported.images_alone}{held_out}: {imported.folder}", flush=True)
    for warning in imported.warnings:
        print(f"warning: {warning}")
    faults = list(imported.faults)
    if not imported.images_alone:
        report = pipeline.verify(imported.dataset, home=options.home, workers=options.workers)
        faults += report.faults
        print(f"checked: {'no fault' if not report.faults else f'{len(report.faults)} faults'}, {len(report.warnings)} "
              f"warnings{f'; autoseg_verify -d {_number(imported)} tells them' * bool(report.warnings)}")
    print("\n".join([*_remarks(recipe), *_next_commands(imported, options.home)]), flush=True)
    return common.list_faults(faults)


_SOURCES: dict[str, Callable[[argparse.Namespace], int]] = {"recipe": _recipe, "list": _list}


def _number(imported: "Imported") -> int:
    return int(imported.dataset.removeprefix("Dataset").split("_")[0])


def _remarks(recipe: "Recipe") -> list[str]:
    lines = [f"licence: {recipe.licence}; cite: {recipe.citation or recipe.home_page}"]
    lines += [f"phases: {recipe.phases}"] if recipe.phases else []
    lines += [f"note: {note}" for note in recipe.notes]
    lines += [f"not verified on the data: {claim}" for claim in recipe.unverified]
    return lines + [f"to compare with: {figure.figure} ({figure.source})" for figure in recipe.published[:_FIGURES]]


def _next_commands(imported: "Imported", home: str | None) -> list[str]:
    number, where = _number(imported), f" --home {home}" if home else ""
    commands = [f"autoseg_pretrain -d {number}"] if imported.images_alone else [
        f"autoseg_plan_and_preprocess -d {number}", f"autoseg_run {number}"]
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
