"""autoseg_describe_inputs: draft the keys of dataset.json that declare inputs beside the images."""

import argparse
import json
import sys

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser("Read the folder of a raw dataset and draft the keys of dataset.json that declare its inputs:\n"
                            "optional channels, the reference grid, the clinical table, vectors and tokens; and outcomes.",
                            "example: autoseg_describe_inputs -d 10")
    command.add_argument("-d", "--dataset", required=True, metavar="D", help="by number or name")
    command.add_argument("--write", action="store_true",
                         help="add the missing keys to dataset.json; the old file is kept as dataset.json.bak")
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg.datasets.describe import describe_inputs
    from autoseg.workspace.draft import add_keys
    from autoseg.workspace.names import DATASET_JSON, Workspace

    workspace = Workspace.open(options.home)
    folder = workspace.raw(workspace.dataset(options.dataset))
    draft = describe_inputs(folder)
    if draft.block:
        print(f"for {folder / DATASET_JSON}:")
        print(json.dumps(draft.block, indent=2, ensure_ascii=False))
    else:
        print("nothing to declare: every case has every channel on the grid of its label, and there is no table or vector")
    _print_verdicts("used", draft.accepted)
    _print_verdicts("refused", draft.refused)
    for remark in draft.remarks:
        print(f"note: {remark}")
    if options.write and draft.block:
        added = add_keys(folder / DATASET_JSON, dict(draft.block))
        unchanged = [key for key in draft.block if key not in added]
        print(f"added to {folder / DATASET_JSON}: {', '.join(added) or 'nothing'}"
              + (f"; already there and not changed: {', '.join(unchanged)}" if unchanged else ""))
    elif draft.block:
        print(f"next: check these keys and add them to {folder / DATASET_JSON} (or use --write)")


def _print_verdicts(title: str, verdicts) -> None:
    if verdicts:
        print(f"{title}:")
    width = max((len(verdict.name) for verdict in verdicts), default=0)
    for verdict in verdicts:
        print(f"  {verdict.name:<{width}}  {f'{verdict.kind}: ' if verdict.kind else ''}{verdict.reason}")


if __name__ == "__main__":
    sys.exit(main())
