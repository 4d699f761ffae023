"""autoseg_compare: which of two sets of predictions is better."""

import argparse
import sys
from pathlib import Path

from autoseg.cli import common, scoring


def parser() -> argparse.ArgumentParser:
    command = common.parser("Compare two sets of predictions of the same cases, label by label: paired differences with "
                            "bootstrap\nintervals and Wilcoxon's test. Each set is a folder of masks or a summary.json.\n"
                            "Scoring options apply to folders only: a summary.json is compared as it was scored.",
                            "example: autoseg_compare ours theirs -r labelsTs -d 4\n"
                            "         autoseg_compare ours/summary.json theirs/summary.json")
    command.add_argument("a", type=Path, metavar="A", help="folder of predictions, or a summary.json of autoseg_evaluate")
    command.add_argument("b", type=Path, metavar="B", help="what A is compared with: the same kinds")
    command.add_argument("-r", "--reference", type=Path, metavar="DIR",
                         help="folder with the true labels; needed for folders")
    scoring.add_labels(command)
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="also write the comparison as JSON")
    command.add_argument("--seed", type=int, default=0, help="seed of the intervals (default: 0)")
    scoring.add_scoring(command)
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg import pipeline
    from autoseg.evaluation.comparison import as_text
    from autoseg.workspace.files import write_json
    from autoseg.workspace.partial import remove_leftovers
    from autoseg.workspace.provenance import note_result, now, provenance, seconds_since

    started = now()
    files = options.a.suffix == options.b.suffix == ".json"
    comparison = pipeline.compare(options.a, options.b, truth=options.reference,
                                  dataset_json=None if files else scoring.described(options),
                                  scoring=scoring.scoring_from(options), seed=options.seed, workers=options.workers)
    if options.output is not None:
        remove_leftovers(options.output.parent)
        note_result(options.output, provenance(started, seconds_since(started), seed=options.seed))
        write_json(options.output, comparison)
    print(as_text(comparison))


if __name__ == "__main__":
    sys.exit(main())
