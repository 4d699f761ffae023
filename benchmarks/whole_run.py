"""Runs `autoseg_run` unattended, from a raw dataset to the report, and prints what came of it as Markdown tables.

    python benchmarks/whole_run.py ../shared/data/Dataset004_Hippocampus --budget 10m --held-out 40 --home run
    python benchmarks/whole_run.py ../shared/data/Dataset004_Hippocampus --budget 15m -c 3d_fullres --home run15

The dataset is linked, not copied. With --held-out N cases, evenly spread over the sorted names, take no part in anything;
at the end every fold alone, all five as an ensemble and what inference.json chose predict them. The same command again
goes on where it was stopped; the seconds of all its runs are kept beside the workspace.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ.setdefault("GOMP_SPINCOUNT", "1000")  # as the commands set it

from autoseg.datasets.dataset import read_manifest
from autoseg.evaluation.folders import evaluate_folders
from autoseg.evaluation.statistics import bootstrap_mean, paired_difference
from autoseg.evaluation.types import Summary
from autoseg.prediction.inference_settings import InferenceSettings
from autoseg.prediction.uncertainty import QualityReport
from autoseg.selection.types import Selection
from autoseg.workspace.files import append_record, read_json, read_model, read_records, write_json
from autoseg.workspace.names import Workspace


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="a raw dataset's folder, one file a channel and case")
    parser.add_argument("--budget", default="10m", help="of each fold")
    parser.add_argument("--held-out", type=int, default=0, metavar="N", help="cases that take no part in training")
    parser.add_argument("-c", "--configurations", nargs="+", default=[])
    parser.add_argument("--home", type=Path, required=True, help="workspace, kept")
    options = parser.parse_args()
    name, held_out = options.dataset.name, options.home / "held_out"
    link(options.dataset.resolve(), options.home / "raw" / name, held_out, options.held_out)
    configurations = ["-c", *options.configurations] if options.configurations else []
    start = time.monotonic()
    status = command("run", name, "--budget", options.budget, *configurations, "--home", str(options.home))
    append_record(options.home / "runs.jsonl", {"seconds": time.monotonic() - start, "status": status})
    cross_validation(options.home, name)
    if options.held_out:
        on_held_out(options.home, name, held_out)


def link(source: Path, raw: Path, held_out: Path, n_held_out: int) -> None:
    """The dataset without the cases that are held out, and those beside it."""
    if (raw / "dataset.json").is_file():
        return
    labels = sorted((source / "labelsTr").iterdir())
    at = {int(i) for i in np.linspace(0, len(labels) - 1, n_held_out)}
    manifest = read_json(source / "dataset.json")
    for index, label in enumerate(labels):
        case = label.name.removesuffix(manifest["file_ending"])
        root = held_out if index in at else raw
        for path in [label, *(source / "imagesTr").glob(f"{case}_[0-9][0-9][0-9][0-9]{manifest['file_ending']}")]:
            target = root / path.parent.name / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            target.symlink_to(path)
    write_json(raw / "dataset.json", {**manifest, "numTraining": len(labels) - len(at)})  # last: now it is whole


def command(name: str, *arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", f"autoseg.cli.{name}", *arguments],
                          env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}).returncode


def cross_validation(home: Path, name: str) -> None:
    workspace = Workspace(home)
    runs, selection = read_records(home / "runs.jsonl"), read_model(workspace.selection(name), Selection)
    print(f"\nautoseg_run: {sum(run['seconds'] for run in runs) / 60:.0f} min in {len(runs)} runs, exit status "
          f"{runs[-1]['status']}; report of {workspace.report(name).stat().st_size / 1e6:.1f} MB\n")
    print("| cross-validation | cases | mean Dice | by label | HD95 mm by label |\n|---|---|---|---|---|")
    for candidate in selection.candidates:
        print(f"| {candidate.title} | {row(candidate.scores)} |")
    print(f"| as chosen | {row(selection.final)} |")
    quality_control = selection.inference.quality_control
    cases = [case for case in selection.cases if case.true_dice is not None]
    if quality_control is not None and selection.calibration is not None:
        flagged = [case.true_dice for case in cases if case.needs_review]
        others = [case.true_dice for case in cases if not case.needs_review]
        print(f"\npredicted and true Dice of {quality_control.n} cases correlate by {quality_control.correlation:.3f}; "
              f"{len(flagged)} flagged, "
              f"mean Dice {np.mean(flagged) if flagged else np.nan:.4f}, others {np.mean(others):.4f}; calibration error "
              f"{selection.calibration.error_before:.4f}, with temperature {selection.calibration.temperature:.2f} "
              f"{selection.calibration.error_after:.4f}")


def row(scores: Summary) -> str:
    def by_label(metric: str, form: str) -> str:
        means = [(label.name, label.means[metric].value) for label in scores.labels if metric in label.means]
        return ", ".join(f"{name} {'-' if value is None else format(value, form)}" for name, value in means) or "-"

    return (f"{scores.n_cases} | {scores.foreground_means['dice'].value:.4f} | {by_label('dice', '.4f')} "
            f"| {by_label('hd95_mm', '.2f')}")


def on_held_out(home: Path, name: str, held_out: Path) -> None:
    workspace = Workspace(home)
    inference = read_model(workspace.inference_settings(name), InferenceSettings)
    manifest = read_manifest(workspace.raw(name))
    first = inference.members[0]
    options = ["-d", name, "-p", first.planner, "-c", first.configuration]
    plans = {f"{first.title}, fold {fold}": [*options, "-f", str(fold)] for fold in first.folds}
    plans |= {f"{first.title}, all folds": [*options, "-f", *map(str, first.folds)], "as chosen": ["-d", name]}
    dice = {}
    print("\n| held out | cases | mean Dice | 95 % interval | seconds a case |\n|---|---|---|---|---|")
    for index, (title, arguments) in enumerate(plans.items()):
        output, start = home / "predicted" / str(index), time.monotonic()
        command("predict", "-i", str(held_out / "imagesTr"), "-o", str(output), "--home", str(home), *arguments)
        seconds = time.monotonic() - start
        summary = evaluate_folders(held_out / "labelsTr", output, manifest.labels, manifest.file_ending)
        dice[title] = [float(np.mean([label.dice for label in case.labels])) for case in summary.cases]
        mean = bootstrap_mean(dice[title])
        print(f"| {title} | {summary.n_cases} | {mean.mean:.4f} | {mean.low:.4f} to {mean.high:.4f} "
              f"| {seconds / summary.n_cases:.2f} |")
    if inference.quality_control is not None:
        by_case = {case.name: case.predicted_dice for case in read_model(output / "quality.json", QualityReport).cases}
        foretold = [by_case[case.name] for case in summary.cases]
        print(f"\npredicted and true Dice of the held-out cases correlate by {np.corrcoef(foretold, dice[title])[0, 1]:.3f}")
    single = np.mean([dice[title] for title in list(plans)[:len(first.folds)]], axis=0)
    for title in list(plans)[len(first.folds):]:
        gain = paired_difference(dice[title], list(single))
        print(f"\n{title} less the mean single fold: {gain.difference:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})")


if __name__ == "__main__":
    main()
