"""autoseg_ensemble: predictions of several models become one."""

import argparse
import sys
from pathlib import Path

from autoseg.cli import common, scoring


def parser() -> argparse.ArgumentParser:
    command = common.parser("Average the predictions of several models, of autoseg and of other programs, which share "
                            "labels and grid: their probabilities where they are saved, else a vote of the masks.",
                            "example: autoseg_ensemble -i ours theirs -o masks --weights 2 1")
    command.add_argument("-i", "--input", required=True, nargs="+", type=Path, metavar="DIR",
                         help="folders of masks CASE.nii.gz; beside them CASE_probabilities.nii.gz as autoseg_predict "
                         "--save_probabilities writes it, or CASE.npz of nnU-Net")
    command.add_argument("-o", "--output", required=True, type=Path, metavar="DIR", help="folder for the masks")
    command.add_argument("--weights", nargs="+", type=float, default=[], metavar="W",
                         help="one number for each folder (default: all the same)")
    scoring.add_labels(command)
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> int:
    from autoseg.prediction.ensemble import ensemble

    workers = common.start_workers(options)
    result = ensemble(options.input, options.output, weights=options.weights, labels=scoring.declared_labels(options),
                      workers=workers)
    how = {0: "all by votes", result.n_masks: "all by probabilities"}.get(
        result.n_averaged, f"{result.n_averaged} by probabilities, the others by votes")
    print(f"{result.n_masks} {'mask' if result.n_masks == 1 else 'masks'} written to {options.output}, {how}")
    return common.list_faults(list(result.faults))


if __name__ == "__main__":
    sys.exit(main())
