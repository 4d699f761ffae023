"""autoseg_ablate: what each input of a trained fold contributes."""

import argparse
import sys

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser("Score a trained fold on its validation cases without each of its optional channels, columns, "
                            "vectors and\ntoken bags, and with another patient's table. Say which of them help.\n"
                            "The same command again continues where it was stopped.",
                            "example: autoseg_ablate 10 3d_fullres 0")
    command.add_argument("dataset", help="by number or name: 10 or Dataset010_Name")
    command.add_argument("configuration", help="2d, 3d_fullres, 3d_lowres or 3d_cascade_fullres")
    command.add_argument("fold", help="a finished fold: 0, 1, 2, ...")
    command.add_argument("-p", "--planner", default="budgeted", metavar="NAME",
                         help="planner of the model (default: budgeted)")
    command.add_argument("--seed", type=int, default=0, help="seed of permutations and intervals (default: 0)")
    command.add_argument("--mirroring", choices=("on", "off"), default="off",
                         help="average mirrored predictions where training mirrored; up to 8 times slower (default: off)")
    common.add_device(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg import pipeline
    from autoseg.explain.ablation import as_text

    print(as_text(pipeline.ablate(options.dataset, options.configuration, options.fold, planner=options.planner,
                                  seed=options.seed, mirroring=options.mirroring == "on", home=options.home,
                                  device=options.device)))


if __name__ == "__main__":
    sys.exit(main())
