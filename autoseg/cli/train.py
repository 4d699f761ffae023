"""autoseg_train: one fold of one configuration."""

import argparse
import sys

from autoseg.cli import common


def main(argv: list[str] | None = None) -> int:
    made = common.parser("Train one fold. The same command again resumes it, or says that it is finished.",
                         "example: autoseg_train 1 3d_fullres 0 --budget 30m")
    made.add_argument("dataset", help="by number or name: 1 or Dataset001_Name")
    made.add_argument("configuration", help="2d, 3d_fullres, 3d_lowres or 3d_cascade_fullres")
    made.add_argument("fold", help="0, 1, 2, ... or all (train on every case, validate none)")
    made.add_argument("-p", "--planner", default="budgeted", metavar="NAME", help="whose plan (default: budgeted)")
    made.add_argument("--budget", type=common.seconds, metavar="TIME",
                      help="plan this training anew for so much time: 90s, 30m, 4h, validation included")
    made.add_argument("--memory", type=common.memory, metavar="SIZE", help="plan it anew for so much memory: 8G")
    made.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
                      help="change a value of the plan: schedule.iterations=5000; may be repeated")
    made.add_argument("--seed", type=int, default=0, help="of weights, sampling and augmentation (default: 0)")
    made.add_argument("--restart", action="store_true", help="throw away what this fold has and begin anew")
    made.add_argument("--save_probabilities", action="store_true",
                      help="also write those of the validation cases, compressed; of a finished fold, what is missing of "
                           "them. Ensembles are compared and uncertainty is calibrated by them")
    common.add_device(made)
    return common.run(_run, made, argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg import pipeline
    from autoseg.evaluate.table import table

    result = pipeline.train(options.dataset, options.configuration, options.fold, planner=options.planner,
                            budget_seconds=options.budget, memory_bytes=options.memory, changes=options.changes,
                            seed=options.seed, restart=options.restart,
                            save_probabilities=options.save_probabilities, home=options.home, device=options.device)
    print(f"{result.dataset} {result.configuration} fold {result.fold}: {result.schedule.iterations} iterations, "
          f"{result.total_seconds / 60:.1f} min")
    if result.scores is not None:
        print(table(result.scores))
    for fault in result.unscored:
        print(f"not scored: {fault}")
    print("next: autoseg_predict -i IMAGES -o MASKS")


if __name__ == "__main__":
    sys.exit(main())
