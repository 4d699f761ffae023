"""autoseg_ablate: what each input of a trained fold contributes."""

import argparse
import sys

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    made = common.parser("Score a trained fold on its validation cases without each of its optional channels, columns, "
                         "vectors and\ntoken bags, and with another patient's table; say which of them help. The same "
                         "command again goes on\nwhere it was stopped.",
                         "example: autoseg_ablate 10 3d_fullres 0")
    made.add_argument("dataset", help="by number or name: 10 or Dataset010_Name")
    made.add_argument("configuration", help="2d, 3d_fullres, 3d_lowres or 3d_cascade_fullres")
    made.add_argument("fold", help="a finished one: 0, 1, 2, ...")
    made.add_argument("-p", "--planner", default="budgeted", metavar="NAME", help="whose model (default: budgeted)")
    made.add_argument("--seed", type=int, default=0, help="of permutations and intervals (default: 0)")
    made.add_argument("--mirroring", choices=("on", "off"), default="off",
                      help="average mirrored predictions where training mirrored; up to 8 times slower (default: off)")
    common.add_device(made)
    return made


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
