"""autoseg_describe_inputs: draft what dataset.json could declare beside the images."""

import argparse
import json
import sys

from autoseg.cli import common


def main(argv: list[str] | None = None) -> int:
    made = common.parser("Look at what lies in a raw dataset's folder and draft the keys of dataset.json that declare it: "
                         "optional channels, the reference grid, the clinical table, vectors and tokens.",
                         "example: autoseg_describe_inputs -d 10")
    made.add_argument("-d", "--dataset", required=True, metavar="D", help="by number or name")
    made.add_argument("--write", action="store_true",
                      help="add the keys that dataset.json lacks; the file as it was is kept as dataset.json.bak")
    return common.run(_run, made, argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg.datasets.describe import describe_inputs
    from autoseg.workspace.draft import add_keys
    from autoseg.workspace.names import DATASET_JSON, Workspace

    workspace = Workspace.open(options.home)
    folder = workspace.raw(workspace.dataset(options.dataset))
    found = describe_inputs(folder)
    if found.block:
        print(f"for {folder / DATASET_JSON}:")
        print(json.dumps(found.block, indent=2, ensure_ascii=False))
    else:
        print("nothing to declare: every case has every channel on the grid of its label, and there is no table or vector")
    _print_verdicts("used", found.accepted)
    _print_verdicts("refused", found.refused)
    for remark in found.remarks:
        print(f"note: {remark}")
    if options.write and found.block:
        added = add_keys(folder / DATASET_JSON, dict(found.block))
        kept = [key for key in found.block if key not in added]
        print(f"added to {folder / DATASET_JSON}: {', '.join(added) or 'nothing'}"
              + (f"; already there and left alone: {', '.join(kept)}" if kept else ""))
    elif found.block:
        print(f"next: check it, and add these keys to {folder / DATASET_JSON} (or let --write do it)")


def _print_verdicts(title: str, verdicts) -> None:
    if verdicts:
        print(f"{title}:")
    width = max((len(verdict.name) for verdict in verdicts), default=0)
    for verdict in verdicts:
        print(f"  {verdict.name:<{width}}  {f'{verdict.kind}: ' if verdict.kind else ''}{verdict.reason}")


if __name__ == "__main__":
    sys.exit(main())
