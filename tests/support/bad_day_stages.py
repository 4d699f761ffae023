"""The commands of a tiny dataset, one after the other, each with the folder as it is before and after the command."""

import importlib
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bad_days import run_child
from compared_trees import contents
from tests_support import small_plan, write_spheres

DATASET = "Dataset001_Spheres"
# Training: two epochs of two iterations; two folds, so that the cross-validation is complete.
STAGES = {
    "plan": ("plan_and_preprocess", "-d 1 -p classic --device cpu --workers 1 --home {home} -c 3d_fullres"),
    "prepare": ("plan_and_preprocess", "-d 1 -p small --workers 1 --home {home}"),
    "train": ("train", "1 3d_fullres 0 -p small --deterministic --save_probabilities --device cpu --home {home}"),
    "choose": ("find_best_configuration", "1 --workers 1 --home {home}"),
    "predict": ("predict", "-i {home}/new -o {home}/masks --save_probabilities --save_uncertainty --device cpu "
                           "--home {home}"),
    "evaluate": ("evaluate", "-r {home}/raw/Dataset001_Spheres/labelsTr -i {home}/masks -d 1 --workers 1 --home {home}"),
    "report": ("report", "1 --home {home}"),
}


@dataclass(frozen=True)
class Stage:
    """A command and its results: `before` and `after` are copies of the folder, `root` is where it runs."""

    name: str
    root: Path
    before: Path
    expected: dict[str, object]

    @property
    def command(self) -> Callable[[], int]:
        return command_of(self.name, self.root)


def command_of(name: str, root: Path) -> Callable[[], int]:
    module, words = STAGES[name]
    return lambda: importlib.import_module(f"autoseg.cli.{module}").main(words.format(home=root).split())


def undisturbed(folder: Path, names: tuple[str, ...] = tuple(STAGES)) -> dict[str, Stage]:
    """Run every command once, up to the last of `names`; the stages that were asked for."""
    for module in ("autoseg.pipeline", "autoseg.training.run", "autoseg.prediction.folder", "autoseg.selection.run", "torch",
                   "matplotlib.figure", *(f"autoseg.cli.{module}" for module, _ in STAGES.values())):
        importlib.import_module(module)  # once, here: every child has it
    root = folder / "home"
    _raw(root)
    stages = {}
    for name in (name for name in STAGES if name != "plan" or name in names):  # no other stage needs it
        before = folder / f"before_{name}"
        shutil.copytree(root, before)
        outcome = run_child(command_of(name, root), root)
        assert outcome.status == 0, f"{name}: {outcome.text[-3000:]}"
        import_all(outcome.modules)
        stages[name] = Stage(name, root, before, contents(root))
        if name == "train":  # the other fold belongs to what the next command finds
            other = run_child(lambda: importlib.import_module("autoseg.cli.train").main(
                STAGES["train"][1].format(home=root).replace(" 0 ", " 1 ").split()), root)
            assert other.status == 0, other.text[-3000:]
        if set(names) <= set(stages):
            break
    return {name: stages[name] for name in names}


def import_all(modules: tuple[str, ...]) -> None:
    """Import here what a child had to import, so that the next children have it."""
    for module in modules:
        if module not in sys.modules:
            with suppress(Exception):  # what is no module of its own
                importlib.import_module(module)


def _raw(root: Path) -> None:
    from autoseg.workspace.files import write_json

    raw = write_spheres(root / "raw" / DATASET, n_cases=3)
    write_json(raw / "splits_final.json", [{"train": ["ball_00", "ball_02"], "val": ["ball_01"]},
                                           {"train": ["ball_01"], "val": ["ball_00", "ball_02"]}])
    (root / "new").mkdir()
    for image in sorted((raw / "imagesTr").glob("*")):
        shutil.copy(image, root / "new")
    plan = small_plan()
    schedule = plan.configurations["3d_fullres"].schedule.model_copy(update={"iterations": 4, "iterations_per_epoch": 2})
    configuration = plan.configurations["3d_fullres"].model_copy(update={"schedule": schedule})
    write_json(root / "prepared" / DATASET / "plan_small.json", plan.model_copy(
        update={"planner": "small", "configurations": {"3d_fullres": configuration}}))
