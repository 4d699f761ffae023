"""What a short training makes of the demo's table and phases: trains one fold, predicts held-out phantoms without each.

    python benchmarks/phantom_inputs.py --home DIR --seed 1
    python benchmarks/phantom_inputs.py --home DIR --seed 1 --set conditioning.name=daft \\
        --set input_dropout.row=0.1 --set input_dropout.column=0.05
    python benchmarks/phantom_inputs.py --home DIR --seed 1 --table shuffled

26 phantoms of a seed (fold 0 trains on 20) and 20 held-out ones of which nothing is missing. The number of iterations is
fixed, so that the result does not depend on what else the machine does, unless it is 0; the plan is the planner's for the
budget. With `--table shuffled` the rows of the table are permuted between the patients, so that it says nothing.

Prints Markdown: Dice of the held-out cases with everything and without inputs, the paired differences as `autoseg_ablate`
judges them, and the share of the voxels of nodules seen in the arterial phase alone that is called tumour, by `cirrhosis`.
Another's row is that of the next case, whose `cirrhosis` is the other one.
"""

import argparse
import csv
import json
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).parents[1]))

from autoseg import pipeline
from autoseg.clinical.conditions import CaseConditions
from autoseg.datasets.dataset import read_manifest
from autoseg.datasets.phantom import CHANNELS, LABELS, REFERENCE, TABLE, write_phantoms
from autoseg.datasets.raw import find_cases
from autoseg.evaluation.statistics import judge, paired_difference
from autoseg.formats import read_image, read_label
from autoseg.prediction.predictor import Predictor
from autoseg.workspace.files import write_text

DATASET, CONFIGURATION = "Dataset001_AbdomenPhantom", "3d_fullres"
N_TRAINING, N_TEST = 26, 20
ARTERIAL = CHANNELS.index("CT_arterial")
BRIGHT_HU, LEAST_VOXELS = 111, 60  # a nodule is brighter in the arterial phase, and in the venous one no darker than 90
Views = dict[str, dict[str, np.ndarray]]  # what is shown -> case -> mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, required=True, help="workspace, kept; a training replaces the one before")
    parser.add_argument("--seed", type=int, default=0, help="of the phantoms")
    parser.add_argument("--training-seed", type=int, default=0)
    parser.add_argument("--iterations", type=int, default=450, help="0: as many as the budget allows (default: 450)")
    parser.add_argument("--budget", type=float, default=215.0, help="seconds that the plan is made for (default: 215)")
    parser.add_argument("--table", choices=("true", "shuffled", "none"), default="true")
    parser.add_argument("--mirroring", action="store_true", help="predict mirrored copies, too: twice as long")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="KEY=VALUE")
    options = parser.parse_args()
    home = options.home / f"seed{options.seed}_{options.table}"
    write_dataset(home / "raw" / DATASET, options.seed, options.table)
    pipeline.fingerprint(DATASET, home=home)
    if not any((home / "prepared").rglob("plan_budgeted.json")):
        pipeline.plan(DATASET, home=home, budget_seconds=options.budget)
    pipeline.preprocess(DATASET, home=home, configurations=[CONFIGURATION])
    length = ["schedule.budget_seconds=null", f"schedule.iterations={options.iterations}"] if options.iterations else []
    result = pipeline.train(DATASET, CONFIGURATION, 0, home=home, seed=options.training_seed, restart=True,
                            changes=[*length, *options.changes])
    print(f"\n{' '.join(sys.argv[1:])}\nvalidation {result.mean_dice:.3f}")
    report(home / "raw" / DATASET, predicted(home, options.mirroring), options.table != "none")


def write_dataset(folder: Path, seed: int, table: str) -> None:
    if (folder / "dataset.json").is_file():
        return
    write_phantoms(folder, N_TRAINING, seed, n_test=N_TEST)
    for place in (folder / TABLE, folder / "imagesTs" / TABLE):
        with place.open() as file:
            rows = list(csv.DictReader(file))
        if table == "shuffled":
            order = np.random.default_rng(seed).permutation(len(rows))
            rows = [{**rows[other], "patient": row["patient"]} for row, other in zip(rows, order, strict=True)]
        write_text(place, "\n".join([",".join(rows[0]), *(",".join(row.values()) for row in rows)]) + "\n")
    if table == "none":
        declared = json.loads((folder / "dataset.json").read_text())
        write_text(folder / "dataset.json", json.dumps({key: declared[key] for key in declared if key != "conditions"}))


def predicted(home: Path, mirroring: bool) -> Views:
    """Masks of the held-out cases with everything, with another case's row, and without some inputs."""
    predictor = Predictor.open(dataset=DATASET, home=home, mirroring=mirroring)
    found = predictor.find(home / "raw" / DATASET / "imagesTs")
    known = {files.name: found.conditions.get(files.name, CaseConditions()) for files in found.files}
    names = list(known)
    others = {name: known[names[(number + 1) % len(names)]] for number, name in enumerate(names)}
    nothing: Mapping[str, CaseConditions] = dict.fromkeys(names, CaseConditions())
    shown = {"everything": (set(range(len(CHANNELS))), known), "another's row": (set(range(len(CHANNELS))), others),
             "no table": (set(range(len(CHANNELS))), nothing),
             "no arterial": (set(range(len(CHANNELS))) - {ARTERIAL}, known), "venous alone": ({REFERENCE}, nothing)}
    views: Views = {view: {} for view in shown}
    for files in found.files:
        for view, (channels, conditions) in shown.items():
            images = tuple(path if number in channels else None for number, path in enumerate(files.images))
            case = predictor.load(replace(files, images=images), {files.name: conditions[files.name]})
            views[view][files.name] = predictor.predict(case).label_DHW
    return views


def report(raw: Path, views: Views, has_table: bool) -> None:
    with (raw / "imagesTs" / TABLE).open() as file:
        cirrhotic = {row["patient"]: row["cirrhosis"] == "yes" for row in csv.DictReader(file)}
    truth = {name: read_label(raw / "labelsTs" / f"{name}.nii.gz")[0] for name in cirrhotic}
    nodules = {files.name: nodule(files.images, truth[files.name]) for files in
               find_cases(raw / "imagesTs", read_manifest(raw).channels, ".nii.gz")}
    dice = {view: {label: [dice_of(truth[case] == value, masks[case] == value) for case in truth]
                   for label, value in LABELS.items() if value} for view, masks in views.items()}
    means = {view: np.mean([dice[view][label] for label in dice[view]], axis=0).tolist() for view in views}
    print("| shown | Dice | liver | tumour | everything less it | verdict | nodules: cirrhotic | not |")
    print("|---|---|---|---|---|---|---|---|")
    for view, masks in views.items():
        difference = paired_difference(means["everything"], means[view])
        low, high = difference.low or 0.0, difference.high or 0.0
        less = "" if view == "everything" else f"{difference.difference:+.3f} ({low:+.3f} to {high:+.3f})"
        shares = [np.mean([(masks[case][nodules[case]] == LABELS["tumour"]).mean() for case in truth
                           if cirrhotic[case] == sick and nodules[case].any()]) for sick in (True, False)]
        print(f"| {view} | {np.mean(means[view]):.3f} | {np.mean(dice[view]['liver']):.3f} | "
              f"{np.mean(dice[view]['tumour']):.3f} | {less} | {judge(difference) if less else ''} | {shares[0]:.2f} | "
              f"{shares[1]:.2f} |", flush=True)
    counted = [sum(nodules[case].any() for case in truth if cirrhotic[case] == sick) for sick in (True, False)]
    print(f"{counted[0]} of {sum(cirrhotic.values())} cirrhotic held-out patients have a nodule, {counted[1]} of "
          f"{len(truth) - sum(cirrhotic.values())} others{'' if has_table else '; there is no table'}")


def nodule(images: tuple, label_DHW: np.ndarray) -> np.ndarray:
    """Where a nodule is bright in the arterial phase, and like liver in the venous one."""
    arterial, venous = (ndimage.gaussian_filter(read_image(images[channel])[0][0], (0.5, 1, 1))
                        for channel in (ARTERIAL, REFERENCE))
    bright = ndimage.binary_opening((arterial > BRIGHT_HU) & (venous > 90) & (venous < 135) & (label_DHW > 0))
    components, n = ndimage.label(bright)
    sizes = ndimage.sum_labels(bright, components, range(1, n + 1))
    return np.isin(components, 1 + np.flatnonzero(sizes >= LEAST_VOXELS))


def dice_of(truth: np.ndarray, mask: np.ndarray) -> float:
    return float(2 * (truth & mask).sum() / (truth.sum() + mask.sum()))


if __name__ == "__main__":
    main()
