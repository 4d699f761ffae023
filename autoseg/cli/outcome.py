"""autoseg_outcome: fit models of what happened to the patients, over the folds of a segmentation."""

import argparse
import sys

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    arguments = common.parser("Fit models of an outcome that dataset.json declares, such as survival, from the table and "
                              "from what a trained\nsegmentation model sees in the images. Every score is out-of-fold, with "
                              "baselines and controls beside it.",
                              "example: autoseg_outcome 1 os")
    arguments.add_argument("dataset", help="number or name of the dataset")
    arguments.add_argument("outcome", help="name of the outcome, as under `outcomes` in dataset.json")
    arguments.add_argument("-c", "--configuration", metavar="C",
                           help="configuration whose folds are all trained (default: the best by validation Dice)")
    arguments.add_argument("-p", "--planner", metavar="NAME", help="its planner (default: likewise)")
    arguments.add_argument("--lesion", metavar="LABEL", help="label whose volume, shape and intensities are features "
                           "(default: the first that is named like a lesion, else the last)")
    arguments.add_argument("--models", nargs="+", metavar="MODEL", help="fit these models only, beside the null model")
    arguments.add_argument("--predict_with", metavar="MODEL", help="the model that predicts new cases (default: the best of "
                           "those above chance; without any, the average of all patients)")
    arguments.add_argument("--seed", type=int, default=0, help="seed of fits, samples and intervals (default: 0)")
    common.add_outcomes(arguments)
    common.add_device(arguments)
    return arguments


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg.outcome.run import FitSettings, fit_outcome
    from autoseg.outcome.text import as_lines
    from autoseg.workspace.names import Workspace

    how = FitSettings(seed=options.seed, only=None if options.models is None else tuple(options.models),
                      predicts=options.predict_with, allow_leaks=options.allow_outcome_conditions)
    report = fit_outcome(options.dataset, options.outcome, how, configuration=options.configuration,
                         planner=options.planner, lesion=options.lesion, home=options.home, device=options.device)
    print("\n".join(as_lines(report)))
    model = Workspace.open(options.home).model(report.dataset, report.planner, report.configuration)
    print(f"written to {model.outcome(report.outcome)}; autoseg_predict adds this outcome to new cases")


if __name__ == "__main__":
    sys.exit(main())
