"""autoseg_external: the model of one dataset, judged on another."""

import argparse
import sys

from autoseg.cli import common, scoring


def parser() -> argparse.ArgumentParser:
    command = common.parser("Predict the labelled cases of another dataset with a trained model and score them, with "
                            "intervals, beside the scores of\nthe model's own cross-validation. Cases that the model was "
                            "trained on are left out. The same command again keeps the masks\nthat are there.",
                            "example: autoseg_external 1 --on 7 --map tumour=lesion")
    command.add_argument("dataset", help="that the model was trained on, by number or name: 1 or Dataset001_Name")
    command.add_argument("--on", required=True, metavar="D", help="the other dataset, by number or name")
    command.add_argument("--map", nargs="+", default=[], metavar="OURS=THEIRS",
                         help="labels that have other names there; + joins labels that count as one: liver+tumour=liver "
                         "(default: labels of one name)")
    command.add_argument("--channels", nargs="+", type=pair, default=[], metavar="OURS=THEIRS",
                         help="channels that have other names there (default: by name, else by modality)")
    command.add_argument("-c", "--configuration", metavar="C",
                         help="configuration of the model (default: from inference.json, else the best validation Dice)")
    command.add_argument("-p", "--planner", metavar="NAME", help="planner of the model (default: likewise)")
    command.add_argument("-f", "--folds", nargs="+", metavar="F", help="folds to ensemble (default: all finished ones)")
    scoring.add_scoring(command)
    common.add_workers(command)
    common.add_device(command)
    return command


def pair(text: str) -> tuple[str, str]:
    """The two sides of `OURS=THEIRS`."""
    ours, _, theirs = (part.strip() for part in text.partition("="))
    if not (ours and theirs):
        raise argparse.ArgumentTypeError(f"expected OURS=THEIRS, such as CT=CT_venous, found {text!r}")
    return ours, theirs


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> int:
    from autoseg.base.processes import cores
    from autoseg.interop.external import as_text
    from autoseg.interop.validate import validate_external
    from autoseg.workspace.names import Workspace

    workspace = Workspace.open(options.home)
    result = validate_external(
        workspace, options.dataset, options.on, configuration=options.configuration, planner=options.planner,
        folds=options.folds, labels=options.map, channels=dict(options.channels), scoring=scoring.scoring_from(options),
        device=options.device, workers=options.workers or cores())
    print(as_text(result))
    print(f"written to {workspace.external_result(result.dataset, result.on)}; autoseg_report {options.dataset} shows it")
    return common.list_faults(list(result.external.faults))


if __name__ == "__main__":
    sys.exit(main())
