"""Trains and predicts a dataset in several ways that must not matter, and prints which files are the same, bit for bit.

    python benchmarks/same_in_same_out.py ../shared/data/Dataset004_Hippocampus --cases 20 --iterations 40

The dataset is linked, not copied, with its first cases; patches and batches are small, to be fast. Each
training has a workspace of its own: twice the same, cases prepared by another number of processes, interrupted after every
epoch and resumed, and data that are read from the disk instead of the memory. Without --deterministic, and with another
number of threads, it may differ: what the table says holds for this machine. Then one model predicts the cases alone,
together, under other names and beside another model. Exit status 1 where files differ that must be the same.
"""

import argparse
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import autoseg
from autoseg import pipeline
from autoseg.base.runtime import open_runtime
from autoseg.planning.resolve import resolve_plan
from autoseg.training import fold as fold_module
from autoseg.training.run import run_fold
from autoseg.workspace.checkpoint import load_weights
from autoseg.workspace.files import read_json, write_json
from autoseg.workspace.names import Workspace
from planners.schema.plan import Plan

PLANNER, NAME = "classic", "3d_fullres"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a raw dataset's folder")
    parser.add_argument("--cases", type=int, default=20)
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--patch", type=int, default=32, help="largest edge of a patch [voxels]")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        raw = first_cases(options.dataset.resolve(), home, options.cases)
        models, differs = trainings(home, raw, options), False
        print("| what | file | same |\n|---|---|---|")
        reference = files(models.pop("reference"))
        for title, model in models.items():
            must = not title.startswith("(")
            for name, content in files(model).items():
                same = content == reference[name]
                differs |= must and not same
                print(f"| {title} | {name} | {'yes' if same else 'no'} |", flush=True)
        for title, same in predictions(home, home / "reference", raw, options.device).items():
            differs |= not same
            print(f"| {title} | masks | {'yes' if same else 'no'} |", flush=True)
    sys.exit(differs)


def first_cases(source: Path, home: Path, n_cases: int) -> Path:
    """A raw dataset of links to the first cases."""
    raw, manifest = home / "raw" / source.name, read_json(source / "dataset.json")
    for label in sorted((source / "labelsTr").iterdir())[:n_cases]:
        for image in (source / "imagesTr").glob(label.name.replace(manifest["file_ending"], "_*")):
            link(image, raw / "imagesTr" / image.name)
        link(label, raw / "labelsTr" / label.name)
    write_json(raw / "dataset.json", manifest | {"numTraining": n_cases})
    return raw


def link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(source)


def trainings(home: Path, raw: Path, options: argparse.Namespace) -> dict[str, Path]:
    """The folders of fold 0, by what was done otherwise; in brackets what may matter."""
    plan = planned(home / "reference", raw, options)

    def trained(title: str, workers: int = 1, deterministic: bool = True, **how: object) -> Path:
        return train(prepared(home / title, raw, plan, workers), plan, deterministic, options.device, **how)

    folders = {"reference": train(Workspace(home / "reference"), plan, True, options.device),
               "again": trained("again"), "other workers": trained("other workers", workers=3),
               "interrupted after every epoch": trained("interrupted", stops=True),
               "read from the disk": trained("streamed", resident=False),
               "(not deterministic, once)": trained("loose", deterministic=False)}
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    folders[f"({threads + 1} threads instead of {threads})"] = trained("threads")
    torch.set_num_threads(threads)
    return folders


def planned(home: Path, raw: Path, options: argparse.Namespace) -> Plan:
    """A small plan, with its cases prepared."""
    link(raw, home / "raw" / raw.name)
    pipeline.fingerprint(raw.name, home=home, workers=1)
    plan = pipeline.plan(raw.name, planner=PLANNER, home=home, device=options.device)
    configuration = plan.configurations[NAME]
    patch = tuple(min(edge, options.patch) for edge in configuration.patch)
    schedule = configuration.schedule.model_copy(update={"iterations": options.iterations, "budget_seconds": None,
                                                         "iterations_per_epoch": max(1, options.iterations // 4)})
    small = configuration.model_copy(update={"patch": patch, "batch": 2, "schedule": schedule})
    plan = plan.model_copy(update={"configurations": {NAME: small}, "first": None}).with_content_hash()
    prepared(home, raw, plan, workers=1)
    return plan


def prepared(home: Path, raw: Path, plan: Plan, workers: int) -> Workspace:
    workspace = Workspace(home)
    if not (home / "raw").exists():
        link(raw, home / "raw" / raw.name)
    write_json(workspace.plan(raw.name, PLANNER), plan)
    pipeline.preprocess(raw.name, planner=PLANNER, configurations=[NAME], home=home, workers=workers)
    return workspace


def train(workspace: Workspace, plan: Plan, deterministic: bool, device: str, stops: bool = False, resident: bool = True
          ) -> Path:
    resolved = resolve_plan(workspace, plan.dataset, NAME, planner=PLANNER, deterministic=deterministic)
    runtime = replace(open_runtime(device))
    share = fold_module._RESIDENT_SHARE
    fold_module._RESIDENT_SHARE = share if resident else 0.0
    try:
        while True:
            try:
                run_fold(workspace, resolved, NAME, 0, runtime, on_epoch=interrupt if stops else lambda folder: None)
                return workspace.fold(plan.dataset, PLANNER, NAME, 0).path
            except KeyboardInterrupt:
                continue
    finally:
        fold_module._RESIDENT_SHARE = share


def interrupt(_: object) -> None:
    raise KeyboardInterrupt


def files(fold: Path) -> dict[str, str]:
    """Digests of the weights, of their file, which also says whether the training was deterministic, and of all masks."""
    checkpoint = fold / "checkpoint.safetensors"
    weights, masks = sha256(), sha256()
    for name, tensor in sorted(load_weights(checkpoint)[0].items()):
        weights.update(name.encode() + tensor.numpy().tobytes())
    for path in sorted((fold / "validation").glob("*.nii.gz")):
        masks.update(path.name.encode() + path.read_bytes())
    return {"weights": weights.hexdigest(), "their file": sha256(checkpoint.read_bytes()).hexdigest(),
            "masks": masks.hexdigest()}


def predictions(home: Path, reference: Path, raw: Path, device: str) -> dict[str, bool]:
    """Whether the masks of ten cases are the same files, by what was done otherwise."""
    model = Workspace(reference).model(raw.name, PLANNER, NAME).path
    images, n = {}, 10
    for image in sorted((raw / "imagesTr").iterdir()):
        images.setdefault(image.name.rpartition("_")[0], []).append(image.resolve())
    images = dict(list(images.items())[:n])

    def masks(title: str, name_of: Callable[[str], str], predictor: "autoseg.Predictor", at_once: int = n) -> list[bytes]:
        source, target = home / f"{title}_images", home / f"{title}_masks"
        for first in range(0, len(images), at_once):
            shutil.rmtree(source, ignore_errors=True)
            for case in list(images)[first : first + at_once]:
                for image in images[case]:
                    link(image, source / image.name.replace(case, name_of(case)))
            autoseg.predict_folder(predictor, source, target)
        return [(target / f"{name_of(case)}.nii.gz").read_bytes() for case in images]

    predictor = autoseg.Predictor.open(folder=model, device=device)
    together = masks("together", str, predictor)
    order = {case: f"case_{len(images) - number:03}" for number, case in enumerate(images)}
    results = {"ten cases, again": masks("again", str, predictor) == together,
               "each case alone": masks("alone", str, predictor, at_once=1) == together,
               "another order of the files": masks("order", order.__getitem__, predictor) == together}
    other = autoseg.Predictor.open(folder=model, device=device, mirroring=False)
    masks("other", str, other)
    results["after another model, in a new predictor"] = masks(
        "new", str, autoseg.Predictor.open(folder=model, device=device)) == together
    return results


if __name__ == "__main__":
    main()
