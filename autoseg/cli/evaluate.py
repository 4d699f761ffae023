"""autoseg_evaluate: score a folder of predictions against a folder of labels."""

import argparse
import sys
from pathlib import Path

from autoseg.cli import common, scoring


def parser() -> argparse.ArgumentParser:
    command = common.parser("Score predictions against labels, case by case and label by label.",
                            "example: autoseg_evaluate -r labelsTs -i masks -d 4 --metrics overlap surface")
    command.add_argument("-r", "--reference", required=True, type=Path, metavar="DIR", help="folder with the true labels")
    command.add_argument("-i", "--input", required=True, type=Path, metavar="DIR", help="folder with the predictions")
    scoring.add_labels(command)
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: summary.json in the input folder")
    scoring.add_scoring(command)
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg import pipeline
    from autoseg.base.errors import ManyFaults
    from autoseg.evaluation.table import table
    from autoseg.formats.files import combined_digest, digest, list_files
    from autoseg.workspace.files import write_json
    from autoseg.workspace.partial import remove_leftovers
    from autoseg.workspace.provenance import note_result, now, provenance, seconds_since

    started = now()
    output = options.output or options.input / "summary.json"
    remove_leftovers(output.parent)
    summary = pipeline.evaluate(options.reference, options.input, scoring.described(options), workers=options.workers,
                                scoring=scoring.scoring_from(options))
    names = {case.name for case in summary.cases}
    data = combined_digest(digest(path) for folder in (options.reference, options.input) for path in list_files(folder)
                           if path.name.partition(".")[0] in names)
    note_result(output, provenance(started, seconds_since(started)), data)
    write_json(output, summary)
    print(table(summary))
    if summary.faults:
        raise ManyFaults(options.input, list(summary.faults))


if __name__ == "__main__":
    sys.exit(main())
