"""The whole pipeline from Python: measure, plan, prepare, train one fold, predict, score.

    python examples/api_end_to_end.py                                # makes phantoms in ./autoseg_try and uses them
    python examples/api_end_to_end.py --home ~/autoseg -d 4 --budget 1800

If you run it again, it keeps what is there and continues where it stopped. It scores the held-out cases of imagesTs if they
have labels. Otherwise it scores the training cases, on which every model looks better than it is.
"""

import argparse
from pathlib import Path

import autoseg
from autoseg.datasets.phantom import write_phantoms
from autoseg.workspace.names import Workspace

PHANTOMS = "Dataset001_AbdomenPhantom"


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("autoseg_try"), help="workspace (default: ./autoseg_try)")
    parser.add_argument("-d", "--dataset", help="number or name in raw/ (default: phantoms)")
    parser.add_argument("--budget", type=float, default=120.0, metavar="SECONDS", help="of the training (default: 120)")
    parser.add_argument("--iterations", type=int, metavar="N", help="instead of as many as the budget allows")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one per core)")
    options = parser.parse_args(argv)
    home, workers = options.home, options.workers
    if options.dataset is None and not (home / "raw" / PHANTOMS / "dataset.json").is_file():
        write_phantoms(home / "raw" / PHANTOMS, n_cases=10, seed=0)
    dataset = options.dataset or PHANTOMS

    autoseg.fingerprint(dataset, home=home, workers=workers)
    plan = autoseg.plan(dataset, budget_seconds=options.budget, home=home)
    configuration = "3d_fullres" if "3d_fullres" in plan.configurations else "2d"
    autoseg.preprocess(dataset, configurations=[configuration], home=home, workers=workers)
    changes = [] if options.iterations is None else [f"schedule.iterations={options.iterations}"]
    result = autoseg.train(dataset, configuration, 0, changes=changes, home=home)
    print(f"{result.schedule.iterations} iterations; mean Dice of the fold's validation cases {result.mean_dice:.3f}")

    raw = Workspace.open(home).raw(plan.dataset)
    part = "Ts" if (raw / "labelsTs").is_dir() else "Tr"
    masks = autoseg.predict(raw / f"images{part}", home / "masks", dataset=dataset, home=home)
    summary = autoseg.evaluate(raw / f"labels{part}", home / "masks", raw, workers=workers)
    print(f"{len(masks)} masks in {home / 'masks'}; mean Dice {summary.foreground_means['dice'].value:.3f}")


if __name__ == "__main__":
    main()
