"""What other inputs are worth on real data: trains one fold a variant of a dataset and compares the scores.

    python benchmarks/inputs.py sts ../shared/data/Dataset010_STS --budget 20m --home DIR
    python benchmarks/inputs.py columns ../shared/data/Dataset004_Hippocampus --budget 10m --iterations 1000 --home DIR

`sts` trains CT alone, CT + PET, CT + PET + MR, the three with the clinical table, and the three without input dropout,
then scores the models with every subset of their channels (autoseg_ablate). `columns` trains without a table and with five
columns of random numbers, which must change nothing. `--iterations` makes two trainings equally long on a machine that does
other things, too. Images are linked, not copied. What is finished is not done again.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

CONFIGURATION = "3d_fullres"
COLUMNS = {"Age": {"kind": "number"}, "Sex": {"kind": "category"}, "MSKCC type": {"kind": "category"},
           "Grade": {"kind": "category"}, "Site of primary STS": {"kind": "category"}}
ABLATED = ["ct_pet_mr", "ct_pet_mr_unhidden", "ct_pet_mr_table", "random_columns"]
NO_HIDING = ("--set", "input_dropout.channels=[0,0,0]")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("comparison", choices=("sts", "columns"))
    parser.add_argument("dataset", type=Path, help="a raw dataset's folder")
    parser.add_argument("--budget", required=True, help="of a fold, such as 20m")
    parser.add_argument("--iterations", type=int, help="of each training, instead of what the budget allows")
    parser.add_argument("--home", type=Path, required=True, help="workspace, kept")
    parser.add_argument("--variants", nargs="+", help="only these")
    parser.add_argument("--ablate", nargs="*", default=ABLATED,
                        help="variants whose inputs are left out in turn (default: %(default)s)")
    options = parser.parse_args()
    variants = {"sts": sts_variants, "columns": column_variants}[options.comparison](options)
    rows = [trained(options, name, *variant) for name, variant in variants.items()
            if not options.variants or name in options.variants]
    print("| inputs | iterations | train s | n | mean Dice | by case |\n|---|---|---|---|---|---|")
    print("\n".join(rows))


def sts_variants(options: argparse.Namespace) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Name of the variant -> its dataset and what is added to the training command."""
    table = {"table": "clinical.csv", "id": "case", "columns": COLUMNS}
    datasets = {"ct": link(options, 41, "CT", channels=(0,)), "ct_pet": link(options, 42, "CTPET", channels=(0, 1)),
            "ct_pet_mr": link(options, 43, "CTPETMR", channels=(0, 1, 2)),
            "ct_pet_mr_table": link(options, 44, "CTPETMRTable", channels=(0, 1, 2), conditions=table)}
    variants = {name: (dataset, ()) for name, dataset in datasets.items()}
    unhidden = link(options, 45, "CTPETMRUnhidden", channels=(0, 1, 2))
    return {**variants, "ct_pet_mr_unhidden": (unhidden, NO_HIDING)}


def column_variants(options: argparse.Namespace) -> dict[str, tuple[str, tuple[str, ...]]]:
    names = [f"random_{k}" for k in range(5)]
    conditions = {"table": "clinical.csv", "id": "case", "columns": {name: {"kind": "number"} for name in names}}
    plain = link(options, 46, "Plain", channels=(0,))
    noisy = link(options, 47, "RandomColumns", channels=(0,), conditions=conditions)
    cases = sorted(path.name.removesuffix("_0000.nii.gz") for path in (options.dataset / "imagesTr").glob("*_0000.nii.gz"))
    values = np.random.default_rng(0).normal(size=(len(cases), len(names)))
    lines = [",".join(["case", *names]), *(",".join([case, *map("{:.3f}".format, row)])
                                           for case, row in zip(cases, values, strict=True))]
    (options.home / "raw" / noisy / "clinical.csv").write_text("\n".join(lines) + "\n")
    return {"plain": (plain, ()), "random_columns": (noisy, ())}


def link(options: argparse.Namespace, number: int, name: str, *, channels: tuple[int, ...], conditions: dict | None = None
         ) -> str:
    """A raw dataset of some channels of another one; the first is the reference, the others are optional."""
    source, dataset = options.dataset.resolve(), f"Dataset{number:03}_{name}"
    folder = options.home / "raw" / dataset
    declared = json.loads((source / "dataset.json").read_text())
    names = [declared["channel_names"][str(channel)] for channel in channels]
    declared["channel_names"] = {str(k): channel for k, channel in enumerate(names)}
    if len(names) > 1:
        declared |= {"reference_channel": names[0], "optional_channels": names[1:]}
    if conditions is not None:
        declared["conditions"] = conditions
    (folder / "imagesTr").mkdir(parents=True, exist_ok=True)
    for file in (source / "imagesTr").glob("*.nii.gz"):
        case, channel = file.name.removesuffix(".nii.gz").rsplit("_", 1)
        if int(channel) not in channels:
            continue
        place = folder / "imagesTr" / f"{case}_{channels.index(int(channel)):04}.nii.gz"
        if not place.is_symlink():
            place.symlink_to(file)
    for file in (source / "labelsTr", source / "clinical.csv"):
        if file.exists() and not (folder / file.name).exists():
            (folder / file.name).symlink_to(file)
    (folder / "dataset.json").write_text(json.dumps(declared, indent=2))
    return dataset


def trained(options: argparse.Namespace, name: str, dataset: str, changes: tuple[str, ...]) -> str:
    """Prepare, train and, where there is something to leave out, ablate; a row of the table."""
    common = ["--home", str(options.home)]
    run("plan_and_preprocess", "-d", dataset, "-c", CONFIGURATION, "--budget", options.budget, *common)
    if options.iterations:
        changes = (*changes, "--set", f"schedule.iterations={options.iterations}")
    start = time.monotonic()
    run("train", dataset, CONFIGURATION, "0", *changes, *common)
    seconds = time.monotonic() - start
    if name in options.ablate:
        run("ablate", dataset, CONFIGURATION, "0", *common)
    return row(options, name, dataset, seconds)


def run(command: str, *arguments: str) -> None:
    print(f"--- autoseg_{command} {' '.join(arguments)}", flush=True)
    subprocess.run([sys.executable, "-m", f"autoseg.cli.{command}", *arguments], check=True,
                   env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])})


def row(options: argparse.Namespace, name: str, dataset: str, seconds: float) -> str:
    from autoseg.training.validate import FoldResult
    from autoseg.workspace.files import read_model
    from autoseg.workspace.names import Workspace

    folder = Workspace(options.home).fold(dataset, "budgeted", CONFIGURATION, 0)
    result = read_model(folder.result, FoldResult)
    cases = ", ".join(f"{case.name} {case.mean_dice:.3f}" for case in result.scores.cases if case.mean_dice is not None)
    by_case = cases if result.scores.n_cases <= 10 else ""
    return (f"| {name} | {result.schedule.iterations} | {seconds:.0f} | {result.scores.n_cases} | {result.mean_dice:.4f} "
            f"| {by_case} |")


if __name__ == "__main__":
    main()
