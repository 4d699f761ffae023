"""autoseg_find_best_configuration: which trained models predict, and what is done to their masks."""

import argparse
import sys

from autoseg.cli import common


def main(argv: list[str] | None = None) -> int:
    made = common.parser("Compare every configuration with finished folds, and every pair as an ensemble, on the "
                         "cross-validation\ncases; choose one, and a postprocessing. autoseg_predict then uses them by "
                         "itself.\nEnsembles and predicted Dice need folds trained with --save_probabilities.",
                         "example: autoseg_find_best_configuration 4")
    made.add_argument("dataset", help="by number or name: 4 or Dataset004_Name")
    made.add_argument("--seed", type=int, default=0, help="of the bootstraps (default: 0)")
    common.add_workers(made)
    return common.run(_run, made, argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg import pipeline
    from autoseg.selection.text import as_text

    print(as_text(pipeline.find_best(options.dataset, seed=options.seed, home=options.home, workers=options.workers)))
    print("next: autoseg_predict -i IMAGES -o MASKS")


if __name__ == "__main__":
    sys.exit(main())
