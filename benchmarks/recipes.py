"""Whether each recipe imports a miniature copy of its dataset and the result is without fault, as a Markdown table.

    python benchmarks/recipes.py

The miniatures are those of the tests: names, formats and values as in the downloads, tiny volumes. Exit status 1 where
a recipe fails.
"""

import logging
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that a checkout runs without being installed

from autoseg import pipeline
from autoseg.evaluation.table import text_table
from autoseg.interop.catalogue import recipes
from autoseg.interop.importing import import_dataset
from autoseg.interop.recipe import Recipe
from autoseg.workspace.names import Workspace
from public_layouts import LAYOUTS


def measured(recipe: Recipe, folder: Path) -> tuple[tuple[str, ...], int]:
    """A row of the table, and the number of faults."""
    LAYOUTS[recipe.name][0](folder / "download")
    started = time.perf_counter()
    imported = import_dataset(recipe, folder / "download", Workspace(folder / "home"))
    seconds = time.perf_counter() - started
    faults, checked = len(imported.faults), "no label"
    if not imported.images_alone:
        report = pipeline.verify(imported.dataset, home=folder / "home", workers=1)
        faults += len(report.faults)
        checked = f"{len(report.faults)} faults, {len(report.warnings)} warnings"
    kept = sum(path.is_symlink() for path in imported.folder.rglob("*"))
    return (recipe.name, str(imported.n_training), str(imported.n_held_out), str(kept), f"{seconds:.2f}", checked), faults


def main() -> int:
    logging.disable(logging.WARNING)
    rows, faults = [("recipe", "training", "held out", "links", "seconds", "autoseg_verify")], 0
    for recipe in recipes():
        with tempfile.TemporaryDirectory() as folder:
            row, wrong = measured(recipe, Path(folder))
        rows.append(row)
        faults += wrong
    print("\n".join(text_table(rows, markdown=True)))
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
