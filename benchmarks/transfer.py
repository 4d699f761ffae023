"""What transfer brings, on the hippocampus (or any dataset of two labels), with the commands that a user types.

    python benchmarks/transfer.py pretrained RAW --pretrain 30m --budget 5m --labelled 8 40 --seeds 0 1 2 --home /tmp/moved
    python benchmarks/transfer.py labels RAW --source 8m --budget 2m --scratch 4m --home /tmp/transfer

`pretrained`: pre-training on the images of fold 0's training cases, then a training with only some of them labelled,
against its twin from scratch with the same time; both are scored on the validation cases of fold 0. `labels`: a model of
the dataset, taken over after its two labels were swapped, or one of them dropped, against a training from scratch with more
time. What is finished is not made again.

With `--step 0.35` a training has the iterations that its time holds at 0.35 s each, so that other work on the machine does
not change what is compared.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the commands set it

from autoseg.cli.common import seconds
from autoseg.evaluation.statistics import paired_difference
from autoseg.training.validate import FoldResult
from autoseg.workspace.files import read_model
from autoseg.workspace.names import Workspace
from planners.like import LIKE

CONFIGURATION = "3d_fullres"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pretrained", "labels"))
    parser.add_argument("raw", type=Path, help="a raw dataset's folder")
    parser.add_argument("--home", type=Path, required=True, help="keeps the workspaces")
    parser.add_argument("-p", "--planner", default="budgeted")
    parser.add_argument("--method", default="mae", choices=("mae", "genesis"))
    parser.add_argument("--pretrain", default="30m", help="time of the pre-training")
    parser.add_argument("--source", default="8m", help="time of the model that is taken over")
    parser.add_argument("--budget", default="5m", help="time of a training that begins from another model")
    parser.add_argument("--scratch", default="4m", help="of `labels`: time from scratch")
    parser.add_argument("--labelled", nargs="+", type=int, default=[8, 40])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--step", type=float, help="seconds of an iteration on a quiet machine: fixes the iterations")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    {"pretrained": pretrained, "labels": labels}[options.what](options)


def pretrained(options: argparse.Namespace) -> None:
    """Few labels: from a pre-training, and from scratch."""
    name, home = options.raw.name, options.home / "images"
    link(options.raw, home)
    prepare(options, home, "--budget", options.budget, "-p", options.planner)
    run("pretrain", "-d", name, "-c", CONFIGURATION, "-p", options.planner, "--method", options.method, "--budget",
        options.pretrain, *place(options, home))
    source = Workspace(home).model(name, options.planner, CONFIGURATION).pretraining(options.method).path
    fold = json.loads(Workspace(home).splits(name).read_text())[0]
    print("| labelled | seed | pre-trained | from scratch | difference |\n|---|---|---|---|---|")
    for n in options.labelled:
        pairs = [few(options, source, fold, n, seed) for seed in options.seeds]
        summarise(n, pairs)


def few(options: argparse.Namespace, source: Path, fold: dict[str, list[str]], n: int, seed: int
        ) -> tuple[FoldResult, FoldResult]:
    """A training with so many labelled cases, drawn by the seed, and its twin."""
    home, name = options.home / f"{n}_cases_seed_{seed}", options.raw.name
    drawn = sorted(np.random.default_rng(seed).permutation(sorted(fold["train"]))[:n].tolist())
    link(options.raw, home, [*drawn, *fold["validation"]])
    splits = Workspace(home).prepared(name) / "splits_final.json"
    splits.parent.mkdir(parents=True, exist_ok=True)
    splits.write_text(json.dumps([{"train": drawn, "val": fold["validation"]}]))
    prepare(options, home, "--budget", options.budget, "--like", str(source))
    planner = LIKE + options.planner
    run("train", name, CONFIGURATION, "0", "-p", planner, "--from", str(source), "--seed", str(seed), "--twin",
        *length(options, options.budget), *place(options, home))
    results = [read_model(workspace.fold(name, planner, CONFIGURATION, 0).result, FoldResult)
               for workspace in (Workspace(home), Workspace(home).twins)]
    print(f"| {n} | {seed} | {results[0].mean_dice:.4f} | {results[1].mean_dice:.4f} | "
          f"{results[0].mean_dice - results[1].mean_dice:+.4f} |", flush=True)
    return results[0], results[1]


def summarise(n: int, pairs: Sequence[tuple[FoldResult, FoldResult]]) -> None:
    """The difference per case, the mean over the seeds, with its 95 % interval over the cases."""
    mine, theirs = (np.mean([dice_of(pair[side]) for pair in pairs], axis=0) for side in (0, 1))
    known = paired_difference(mine, theirs, 0)
    print(f"| {n} | all | {known.mean_a:.4f} | {known.mean_b:.4f} | {known.difference:+.4f} ({known.low:+.4f} to "
          f"{known.high:+.4f}, {known.n} cases) |", flush=True)


def dice_of(result: FoldResult) -> list[float]:
    """The mean Dice of each validation case; NaN where it has no foreground."""
    cases = sorted(result.scores.cases, key=lambda case: case.name)
    return [np.nan if case.mean_dice is None else case.mean_dice for case in cases]


def labels(options: argparse.Namespace) -> None:
    """Labels in another order, and one of them dropped: from the model, and from scratch with more time."""
    name, home = options.raw.name, options.home / "first"
    link(options.raw, home)
    prepare(options, home, "--budget", options.source, "-p", options.planner)
    run("train", name, CONFIGURATION, "0", "-p", options.planner, *length(options, options.source), *place(options, home))
    source, planner = Workspace(home).model(name, options.planner, CONFIGURATION).path, LIKE + options.planner
    first, second = (label for label in json.loads((options.raw / "dataset.json").read_text())["labels"]
                     if label != "background")
    print(f"| labels | from the model, {options.budget} | from scratch, {options.scratch} |\n|---|---|---|")
    for title, values in (("swapped", {first: 2, second: 1}), ("one dropped", {second: 1})):
        dice = []
        for budget, begin in ((options.budget, ["--from", str(source)]), (options.scratch, [])):
            home = options.home / f"{title.replace(' ', '_')}_{'from' if begin else 'scratch'}"
            link(options.raw, home, values=values)
            prepare(options, home, "--budget", budget, "--like", str(source))
            run("train", name, CONFIGURATION, "0", "-p", planner, *begin, *length(options, budget), *place(options, home))
            dice.append(read_model(Workspace(home).fold(name, planner, CONFIGURATION, 0).result, FoldResult).mean_dice)
        print(f"| {title} | {dice[0]:.4f} | {dice[1]:.4f} |", flush=True)


def link(raw: Path, home: Path, cases: Sequence[str] | None = None, values: dict[str, int] | None = None) -> None:
    """The dataset in a workspace: links to its files, of some cases alone, or with other label `values` by name."""
    target = home / "raw" / raw.name
    if target.exists():
        return
    declared = json.loads((raw / "dataset.json").read_text())
    ending, before = declared["file_ending"], declared["labels"]
    for folder in ("imagesTr", "labelsTr"):
        (target / folder).mkdir(parents=True)
        for file in sorted((raw / folder).glob(f"*{ending}")):
            case = file.name.removesuffix(ending)
            case = case.rpartition("_")[0] if folder == "imagesTr" else case
            if cases is not None and case not in cases:
                continue
            if values is None or folder == "imagesTr":
                (target / folder / file.name).symlink_to(file.resolve())
            else:
                rewrite(file, target / folder / file.name, {before[label]: value for label, value in values.items()})
    names = [path.name for path in (target / "labelsTr").iterdir()]
    changed = {"labels": {"background": 0, **dict(sorted(values.items(), key=lambda item: item[1]))}} if values else {}
    (target / "dataset.json").write_text(json.dumps({**declared, **changed, "numTraining": len(names)}))


def rewrite(file: Path, target: Path, values: dict[int, int]) -> None:
    """A label file with other values; those that are not named become background."""
    image = nibabel.load(file)
    before = np.asarray(image.dataobj)
    after = np.zeros_like(before)
    for old, new in values.items():
        after[before == old] = new
    nibabel.save(nibabel.Nifti1Image(after, image.affine, image.header), target)


def prepare(options: argparse.Namespace, home: Path, *arguments: str) -> None:
    run("plan_and_preprocess", "-d", options.raw.name, "-c", CONFIGURATION, *arguments, *place(options, home))


def length(options: argparse.Namespace, budget: str) -> list[str]:
    return [] if options.step is None else ["--set", f"schedule.iterations={round(seconds(budget) / options.step)}"]


def place(options: argparse.Namespace, home: Path) -> list[str]:
    return ["--home", str(home), "--device", options.device]


def run(command: str, *arguments: str) -> None:
    """A command of autoseg; what it prints goes to the errors, so that the table stays alone."""
    subprocess.run([sys.executable, "-m", f"autoseg.cli.{command}", *arguments], check=True, stdout=sys.stderr,
                   env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})


if __name__ == "__main__":
    main()
