"""Which inputs pay on the sarcomas: CT, PET and MR alone, together and as late fusions, with and without the table.

    python benchmarks/compare_inputs.py ../shared/data/Dataset010_STS --budget 10m --home DIR
    python benchmarks/compare_inputs.py ../shared/data/Dataset010_STS --budget 10m --home DIR --folds 0 1 --table
    python benchmarks/compare_inputs.py ../shared/data/Dataset010_STS --budget 30s --home DIR --folds 0 1 --cases 8

Four sets on five folds take three and a half hours at 10 minutes a fold. The last line is a trial of some minutes. What is
finished is not done again. Images are linked, not copied. Prints Markdown. The target: what is chosen is at most 0.01 below
the best single channel.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

CONFIGURATION, DATASET = "3d_fullres", "Dataset010_STS"
SETS = ("CT", "PET", "CT,PET", "CT,PET,MR")
COLUMNS = {"Age": {"kind": "number"}, "Sex": {"kind": "category"}, "MSKCC type": {"kind": "category"},
           "Grade": {"kind": "category"}, "Site of primary STS": {"kind": "category"}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="the raw dataset's folder")
    parser.add_argument("--budget", required=True, help="of a fold, such as 10m")
    parser.add_argument("--home", type=Path, required=True, help="workspace, kept")
    parser.add_argument("--folds", nargs="+", default=["all-folds"])
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--table", action="store_true", help="the set CT,PET with five columns of the table, too")
    parser.add_argument("--cases", type=int, help="only the first cases, to try")
    parser.add_argument("--set", action="append", default=[], dest="changes", metavar="KEY=VALUE")
    options = parser.parse_args()
    link(options)
    sets = (*options.sets, *(("CT,PET+table",) if options.table else ()))

    from autoseg.cli.common import seconds
    from autoseg.orchestrate.inputs import InputOptions, compare_inputs

    asked = InputOptions(CONFIGURATION, tuple(sets), late=True, folds=tuple(options.folds),
                         budget_seconds=seconds(options.budget), changes=tuple(options.changes))
    print(as_markdown(compare_inputs(DATASET, asked, home=options.home).comparison))


def link(options: argparse.Namespace) -> None:
    """The raw dataset in the workspace, with its reference channel and the table declared."""
    source, folder = options.dataset.resolve(), options.home / "raw" / DATASET
    names = sorted(path.name.removesuffix(".nii.gz") for path in (source / "labelsTr").glob("*.nii.gz"))[:options.cases]
    for part, pattern in (("imagesTr", "{}_*.nii.gz"), ("labelsTr", "{}.nii.gz")):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for file in (file for name in names for file in (source / part).glob(pattern.format(name))):
            if not (folder / part / file.name).is_symlink():
                (folder / part / file.name).symlink_to(file)
    if not (folder / "clinical.csv").exists():
        (folder / "clinical.csv").symlink_to(source / "clinical.csv")
    declared = json.loads((source / "dataset.json").read_text())
    declared |= {"numTraining": len(names), "reference_channel": "CT",
                 "conditions": {"table": "clinical.csv", "id": "case", "columns": COLUMNS}}
    (folder / "dataset.json").write_text(json.dumps(declared, indent=2))


def as_markdown(comparison) -> str:
    from autoseg.reporting.html.words import difference, number, p_value, with_interval

    lines = ["| inputs | n inputs | n | Dice (95 % interval) | to the best | p (Holm) | seconds | |",
             "|---|---|---|---|---|---|---|---|"]
    for score in sorted(comparison.scores, key=lambda score: -(score.mean.mean or 0.0)):
        spent = sum(comparison.seconds.get(title, 0.0) for title in score.sets)
        mark = "**chosen**" if score.title == comparison.chosen else "" if score.is_as_good else "worse"
        lines.append(f"| {score.title} | {score.n_inputs} | {score.mean.n} | {with_interval(score.mean)} | "
                     f"{'best' if score.difference is None else difference(score.difference)} | "
                     f"{'-' if score.p is None else p_value(score.p)} | {spent:.0f} | {mark} |")
    single = max(score.mean.mean or 0.0 for score in comparison.scores if score.n_inputs == 1)
    chosen = comparison.score(comparison.chosen).mean.mean or 0.0
    verdict = "met" if chosen >= single - 0.01 else "missed"
    return "\n".join([*lines, "", f"Chosen {number(chosen)}, best single input {number(single)}: the target (at most 0.01 "
                                  f"below it) is {verdict}."])


if __name__ == "__main__":
    main()
