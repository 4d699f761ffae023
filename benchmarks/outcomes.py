"""What of patients can be predicted from the table, the volume, radiomics and what the segmentation model sees.

    python benchmarks/outcomes.py /tmp/home 10 survival recurrence
    python benchmarks/outcomes.py /tmp/home 10 survival --budget 60s --source ../shared/data/Dataset010_STS

All folds of the configuration must be trained in the home. With --source the dataset is linked there, its conditions and
outcomes are declared as `autoseg_describe_inputs` proposes (of the sarcomas the recurrence beside), and missing folds are
trained, --budget each. Prints a Markdown table: every model with its 95 % interval, the control of shuffled outcomes, and
the difference from the best model of the table or the volume.
"""

import argparse
import json
import sys
from pathlib import Path

from autoseg import pipeline
from autoseg.cli.common import seconds
from autoseg.datasets.describe import describe_inputs
from autoseg.outcome.report import OutcomeReport, order_of
from autoseg.outcome.run import FitSettings, fit_outcome
from autoseg.outcome.text import row_of, sentences_of, title_of
from autoseg.training.splits import N_FOLDS
from autoseg.workspace.names import Workspace

# What the proposal cannot know: any text says that the tumour came back, and the time without it is another column.
RECURRENCE = {"kind": "survival", "time": "Time – diagnosis to outcome (days)", "event": "Outcome (recurrence, mets)",
              "event_values": {"*": 1, "": 0}, "censored": "Time – diagnosis to last follow-up (days)"}


def main() -> int:
    command = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_argument("home", type=Path)
    command.add_argument("dataset")
    command.add_argument("outcomes", nargs="+")
    command.add_argument("-c", "--configuration", default="3d_fullres")
    command.add_argument("-p", "--planner", default="budgeted")
    command.add_argument("--models", nargs="+", help="these models only")
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--source", type=Path, help="raw dataset to link into the home")
    command.add_argument("--budget", type=seconds, default=600.0, help="of each fold that is missing: 60s, 10m")
    options = command.parse_args()
    if options.source is not None:
        _link(options.source, options.home / "raw" / options.source.name)
        _train(options)
    how = FitSettings(seed=options.seed, only=None if options.models is None else tuple(options.models))
    for outcome in options.outcomes:
        _show(fit_outcome(options.dataset, outcome, how, configuration=options.configuration, planner=options.planner,
                          home=options.home))
    return 0


def _link(source: Path, folder: Path) -> None:
    """A dataset of links, whose dataset.json declares its inputs and outcomes."""
    if folder.is_dir():
        return
    folder.mkdir(parents=True)
    for path in source.iterdir():
        if path.name != "dataset.json":
            (folder / path.name).symlink_to(path.resolve())
    declared = json.loads((source / "dataset.json").read_text(encoding="utf-8"))
    (folder / "dataset.json").write_text(json.dumps(declared), encoding="utf-8")
    block = dict(describe_inputs(folder).block)
    if RECURRENCE["event"] in (source / "clinical.csv").read_text(encoding="utf-8"):
        block["outcomes"] = block.get("outcomes", {}) | {"recurrence": RECURRENCE}
    (folder / "dataset.json").write_text(json.dumps(declared | block, ensure_ascii=False, indent=1), encoding="utf-8")


def _train(options: argparse.Namespace) -> None:
    model = Workspace.open(options.home).model(options.source.name, options.planner, options.configuration)
    missing = [fold for fold in range(N_FOLDS) if not model.fold(fold).is_finished]
    if not missing:
        return
    pipeline.fingerprint(options.dataset, home=options.home)
    pipeline.plan(options.dataset, planner=options.planner, budget_seconds=options.budget, home=options.home)
    pipeline.preprocess(options.dataset, planner=options.planner, configurations=[options.configuration], home=options.home)
    for fold in missing:
        pipeline.train(options.dataset, options.configuration, fold, planner=options.planner,
                       budget_seconds=options.budget, home=options.home)


def _show(report: OutcomeReport) -> None:
    name = order_of(report.models[0].scores)[0]
    print(f"\n{title_of(report)}\n\n| model | reads | {name} | shuffled outcomes | difference from {report.reference} |\n"
          "|---|---|---|---|---|")
    for model in report.models:
        print(f"| {' | '.join(row_of(model))} |")
    print("\n" + "\n".join([*sentences_of(report), *report.skipped, *report.warnings]))


if __name__ == "__main__":
    sys.exit(main())
