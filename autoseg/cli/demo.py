"""autoseg_demo: the whole pipeline on synthetic patients, in minutes and without a GPU."""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.cli import common

if TYPE_CHECKING:
    from autoseg.prediction.predictor import Predictor

DATASET = "Dataset001_AbdomenPhantom"
# Fewer held-out cases say little: the tumour's Dice of four differed by 0.07 from run to run.
_TRAINING_CASES, _TEST_CASES = 26, 20
_DRAWN_CASES = 8  # on the contact sheet


def parser() -> argparse.ArgumentParser:
    command = common.parser("Make synthetic patients (CT phases, MR, a clinical table), then measure, plan, prepare, "
                            "train, predict and score them.\nWithout --home everything is written to ./autoseg_demo.",
                            "example: autoseg_demo")
    command.add_argument("--budget", type=common.seconds, default=215.0, metavar="TIME",
                         help="training time, including validation (default: 215s)")
    command.add_argument("--seed", type=int, default=0, help="seed of the phantoms and of the training (default: 0)")
    common.add_device(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    import time

    from autoseg import pipeline
    from autoseg.base.progress import duration
    from autoseg.datasets.phantom import write_phantoms
    from autoseg.evaluation.table import table
    from autoseg.prediction.folder import predict_folder
    from autoseg.prediction.predictor import Predictor
    from autoseg.workspace.names import Workspace

    started = time.monotonic()
    home = Workspace.open(options.home or "autoseg_demo").home
    _keep_apart(home, {"budget_seconds": options.budget, "seed": options.seed, "held_out_cases": _TEST_CASES})
    raw = home / "raw" / DATASET
    if not (raw / "dataset.json").is_file():
        write_phantoms(raw, _TRAINING_CASES, options.seed, n_test=_TEST_CASES)
    print(f"1. data: {_TRAINING_CASES} training and {_TEST_CASES} held-out phantoms in {raw}")
    pipeline.fingerprint(DATASET, home=home)
    plan = pipeline.plan(DATASET, home=home, budget_seconds=options.budget, device=options.device)
    print("2. plan:")
    for reason in plan.reasons:
        print(f"   {reason}")
    pipeline.preprocess(DATASET, home=home, configurations=["3d_fullres"])
    print("3. training fold 0:")
    result = pipeline.train(DATASET, "3d_fullres", 0, home=home, device=options.device, seed=options.seed)
    print(f"   {result.schedule.iterations} iterations; validation Dice {result.mean_dice:.3f}")
    masks = home / "predictions"
    predictor = Predictor.open(dataset=DATASET, home=home, device=options.device)
    predict_folder(predictor, raw / "imagesTs", masks)
    summary = pipeline.evaluate(raw / "labelsTs", masks, raw)
    print("4. scores of the held-out cases, with all inputs:")
    print(table(summary))
    fewer = home / "predictions_venous_only"
    _predict_venous_only(predictor, raw / "imagesTs", fewer)
    print("5. scores of the same model, with the venous phase only:")
    print(table(pipeline.evaluate(raw / "labelsTs", fewer, raw)))
    sheet = _contact_sheet(raw, {"all inputs": masks, "venous phase only": fewer}, home / "contact_sheet.png")
    fold = Workspace.open(home).fold(DATASET, plan.planner, "3d_fullres", 0)
    print(f"""
finished in {duration(time.monotonic() - started)}. Results:
  contact sheet   {sheet}
  masks           {masks}
  plan            {Workspace.open(home).plan(DATASET, plan.planner)}
  trained fold    {fold.path}
  curves          {fold.curves}
Next commands:
  test each input       autoseg_ablate 1 3d_fullres 0 --home {home}
  train another fold    autoseg_train 1 3d_fullres 1 --home {home}
  train longer          autoseg_train 1 3d_fullres 0 --budget 20m --restart --home {home}
  use your own dataset  put it into ~/autoseg/raw/Dataset004_Name and run autoseg_plan_and_preprocess -d 4""")


def _keep_apart(home: Path, settings: dict[str, float]) -> None:
    """Raise UserError where the folder holds a demo with other settings: old results would be mixed with new ones."""
    from autoseg.base.errors import UserError
    from autoseg.workspace.files import read_json, write_json

    path = home / "demo.json"
    if path.is_file() and read_json(path) != settings:
        raise UserError("this folder holds a demo with other settings", where=path, found=read_json(path), expected=settings,
                        do=f"name another folder with --home, or remove {home}")
    write_json(path, settings)


def _predict_venous_only(predictor: "Predictor", images: Path, target: Path) -> None:
    """Predict the cases without the other channels and without their rows of the table."""
    from dataclasses import replace

    from autoseg.datasets.phantom import REFERENCE
    from autoseg.formats import write_label

    for files in predictor.find(images).files:
        alone = replace(files, images=tuple(path if k == REFERENCE else None for k, path in enumerate(files.images)))
        case = predictor.load(alone, {})
        write_label(target / f"{files.name}{predictor.plan.file_ending}", predictor.predict(case).label_DHW, case.geometry)


def _contact_sheet(raw: Path, masks: Mapping[str, Path], path: Path) -> Path:
    from dataclasses import replace

    from autoseg.datasets.dataset import read_manifest
    from autoseg.datasets.raw import find_cases
    from autoseg.reporting.predictions import sheet_of_masks

    manifest = read_manifest(raw)
    cases = find_cases(raw / "imagesTs", manifest.channels, manifest.file_ending)
    files = [replace(case, label=raw / "labelsTs" / f"{case.name}{manifest.file_ending}") for case in cases[:_DRAWN_CASES]]
    sheet_of_masks(path, files, masks, manifest)
    return path


if __name__ == "__main__":
    sys.exit(main())
