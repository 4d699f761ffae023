"""autoseg_pretrain: a network learns from images without labels."""

import argparse
import sys

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser("Pre-train the network of a dataset's plan on images without labels. The same command again "
                            "goes on.\nA training takes it over with autoseg_train --from.",
                            "example: autoseg_pretrain -d 1 --budget 2h\n"
                            "         autoseg_pretrain -d 1 2 -i unlabelled_scans --method mae --budget 2h")
    command.add_argument("-d", "--dataset", required=True, nargs="+", metavar="D",
                         help="dataset(s), by number or name; the plan of the first says what is trained. A dataset may "
                              "have imagesTr alone")
    command.add_argument("-i", "--input", nargs="+", default=[], metavar="DIR",
                         help="also the images of these folders, named as for a prediction")
    command.add_argument("--method", default="mae", choices=("mae", "genesis"),
                         help="mae (default): restore blocks that are hidden; genesis: restore what was bent, shuffled and "
                              "painted over")
    command.add_argument("-c", "--configuration", metavar="C",
                         help="2d, 3d_fullres or 3d_lowres (default: the one that the plan advises)")
    command.add_argument("-p", "--planner", default="budgeted", metavar="NAME",
                         help="planner of the plan (default: budgeted)")
    command.add_argument("-f", "--fold", type=int, default=0, metavar="N",
                         help="leave out the images that this fold is validated on (default: 0)")
    command.add_argument("--all-images", action="store_true",
                         help="leave out none, and take test images, too: no fold's score is then an honest one")
    command.add_argument("--budget", type=common.seconds, metavar="TIME",
                         help="time of the training: 30m, 2h (default: that of the plan)")
    command.add_argument("--seed", type=int, default=0, help="seed of weights, sampling and corruption (default: 0)")
    command.add_argument("--restart", action="store_true", help="delete what is there and start again")
    common.add_device(command)
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg.base.progress import duration
    from autoseg.orchestrate.pretrain import pretrain
    from autoseg.workspace.names import Workspace

    result = pretrain(options.dataset, folders=options.input, method=options.method, configuration=options.configuration,
                      fold=options.fold, planner=options.planner, budget_seconds=options.budget, seed=options.seed,
                      restart=options.restart, all_images=options.all_images, workers=options.workers, home=options.home,
                      device=options.device)
    model = Workspace.open(options.home).model(result.dataset, result.planner, result.configuration)
    folder = model.pretraining(result.method.name).path
    n_images = sum(map(len, result.images.values()))
    print(f"{result.dataset} {result.configuration}, {result.method.name}: {n_images} images, "
          f"{result.schedule.iterations} iterations, {duration(result.training_seconds)}")
    if result.held_out_error is not None and result.mean_fill_error:
        print(f"{len(result.held_out)} held-out images: error {result.held_out_error:.4f}, "
              f"{result.held_out_error / result.mean_fill_error:.2f} of filling in the mean")
    print(f"written: {folder}")
    print(f"next: autoseg_train {result.dataset} {result.configuration} {options.fold} --from {folder}")


if __name__ == "__main__":
    sys.exit(main())
