"""autoseg_postprocess: clean a folder of masks by rules that are given, or that pay on a reference."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.cli import common, scoring

if TYPE_CHECKING:
    from autoseg.selection.postprocess_folder import Rules
    from planners.schema.labels import LabelSpec


def parser() -> argparse.ArgumentParser:
    command = common.parser("Clean a folder of masks, whoever predicted them: by rules that are given, or by those that "
                            "improve the masks on a reference,\nas autoseg_find_best_configuration chooses them.",
                            "example: autoseg_postprocess -i masks -o clean -r labelsTr -d 4")
    command.add_argument("-i", "--input", required=True, type=Path, metavar="DIR", help="folder of masks")
    command.add_argument("-o", "--output", required=True, type=Path, metavar="DIR",
                         help="folder for the new masks, and for their rules (postprocessing.json)")
    command.add_argument("-r", "--reference", type=Path, metavar="DIR", help="folder of true labels: measure which rules "
                         "pay")
    command.add_argument("--rules", type=Path, metavar="FILE", help="a postprocessing.json that was written before")
    command.add_argument("--keep_largest", nargs="+", default=[], metavar="LABEL", help="keep the largest component of each")
    command.add_argument("--keep_largest_of_all", action="store_true", help="keep the largest component of all "
                         "labels together")
    command.add_argument("--fill_holes", nargs="+", default=[], metavar="LABEL", help="fill the holes of each")
    command.add_argument("--minimum_ml", nargs="+", type=_volume, default=[], metavar="LABEL=ML",
                         help="remove components of a label below a volume in mL")
    scoring.add_labels(command)
    common.add_seed(command)
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _volume(text: str) -> tuple[str, float]:
    """Label and volume in mL, from `tumour=0.5`."""
    label, _, number = text.rpartition("=")
    try:
        volume = float(number)
    except ValueError:
        volume = -1.0
    if not label or not 0 < volume < float("inf"):
        raise argparse.ArgumentTypeError(f"expected LABEL=ML such as tumour=0.5, found {text!r}")
    return label, volume


def _run(options: argparse.Namespace) -> int:
    from autoseg.selection.postprocess_folder import labels_of_masks, postprocess
    from autoseg.selection.steps import describe

    workers = common.start_workers(options)
    labels = labels_of_masks(options.input, scoring.declared_labels(options))
    rules = _rules(options, labels, workers)
    for comparison in rules.comparisons:
        difference = comparison.difference
        print(f"{'kept' if comparison.accepted else 'not kept'}: {comparison.candidate}: Dice {difference.difference:+.4f} "
              f"({difference.low:+.4f} to {difference.high:+.4f})")
    done = postprocess(options.input, options.output, rules, labels, workers=workers)
    print(f"{describe(rules.postprocessing)}: {done.n_changed} of {done.n_masks} masks changed, written to {options.output}")
    return common.list_faults(list(done.faults))


def _rules(options: argparse.Namespace, labels: "LabelSpec", workers: int) -> "Rules":
    """The rules that the options say by flags, a file or a reference. Raises UserError where they say none, or several."""
    from autoseg.base.errors import UserError
    from autoseg.prediction.inference_settings import Postprocessing
    from autoseg.selection.postprocess_folder import chosen_rules, given_rules, read_rules

    steps = Postprocessing(keep_largest_of_all=options.keep_largest_of_all, keep_largest=tuple(options.keep_largest),
                           fill_holes=tuple(options.fill_holes), minimum_ml=dict(options.minimum_ml))
    sources = {"-r": options.reference is not None, "--rules": options.rules is not None,
               "--keep_largest and the like": steps != Postprocessing()}
    if sum(sources.values()) != 1:
        raise UserError("the rules are said in one way", expected=f"one of {', '.join(sources)}",
                        found=" and ".join(source for source, is_given in sources.items() if is_given) or "no rules")
    if options.rules is not None:
        return read_rules(options.rules, labels)
    if options.reference is not None:
        return chosen_rules(options.input, options.reference, labels, workers=workers,
                            seed=options.seed)
    return given_rules(steps, labels)


if __name__ == "__main__":
    sys.exit(main())
