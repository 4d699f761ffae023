"""autoseg_find_best_configuration: choose the trained models that predict, and the postprocessing of their masks."""

import argparse
import sys

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser("Compare every configuration with finished folds, and every pair as an ensemble, on the "
                            "cross-validation\ncases. Choose one of them and a postprocessing. autoseg_predict then uses "
                            "this choice.\nEnsembles and quality control need folds trained with --save_probabilities.",
                            "example: autoseg_find_best_configuration 4")
    command.add_argument("dataset", help="by number or name: 4 or Dataset004_Name")
    command.add_argument("--seed", type=int, default=0, help="seed of the bootstrap (default: 0)")
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg import pipeline
    from autoseg.selection.text import as_text

    print(as_text(pipeline.find_best(options.dataset, seed=options.seed, home=options.home, workers=options.workers)))
    print(f"next: autoseg_predict -i IMAGES -o MASKS -d {options.dataset}")


if __name__ == "__main__":
    sys.exit(main())
