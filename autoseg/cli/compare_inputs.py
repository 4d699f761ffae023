"""autoseg_compare_inputs: which inputs pay, by training sets of them on the same folds."""

import argparse
import sys

from autoseg.cli import common


def parser() -> argparse.ArgumentParser:
    command = common.parser(
        "Train sets of inputs on the same folds for the same time, score them and, with --late, their averages on the same"
        "\nvalidation cases, and choose the smallest set that is as good as the best: autoseg_predict then uses it.\n"
        "The same command again continues where it was stopped; with other sets it trains those that are new.",
        'example: autoseg_compare_inputs 1 3d_fullres --inputs "CT" "CT,PET" "CT,PET+table" --late --total 4h')
    command.add_argument("dataset", help="by number or name: 4 or Dataset004_Hippocampus")
    command.add_argument("configuration", help="of the plan, such as 3d_fullres")
    command.add_argument("--inputs", nargs="+", required=True, metavar="SET",
                         help='two sets or more: channels by name, its beginning or number, then + and a condition, or '
                              'table, vectors, tokens for all of a kind: "CT,PET+Age"')
    command.add_argument("--late", action="store_true",
                         help="score the mean probabilities of each two sets, too, and train the set of all named inputs")
    command.add_argument("-p", "--planner", default="budgeted", metavar="NAME",
                         help="planner of the plan, which all sets share but for their inputs (default: budgeted)")
    command.add_argument("--folds", nargs="+", default=["all-folds"], metavar="F",
                         help="train only these folds, two or more: 0 1 2 (default: all folds)")
    time = command.add_mutually_exclusive_group()
    time.add_argument("--total", type=common.seconds, metavar="TIME",
                      help="time of everything together, preparing included; every set gets the same share")
    time.add_argument("--budget", type=common.seconds, metavar="TIME",
                      help="training time per fold with validation: 90s, 30m, 4h (default: what the plan says)")
    common.add_memory(command)
    command.add_argument("--set", dest="changes", action="append", default=[], metavar="KEY=VALUE",
                         help="change a value of the plan for all sets, such as batch=4; may be repeated")
    common.add_seed(command)
    common.add_devices(command)
    common.add_outcomes(command)
    common.add_device(command)
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> int:
    from autoseg.orchestrate.inputs import InputOptions, compare_inputs
    from autoseg.orchestrate.processes import devices_of
    from autoseg.orchestrate.run import ExecutionOptions
    from autoseg.selection.inputs import as_text

    asked = InputOptions(options.configuration, tuple(options.inputs), late=options.late, folds=tuple(options.folds),
                         total_seconds=options.total, budget_seconds=options.budget, memory_bytes=options.memory,
                         planner=options.planner, changes=tuple(options.changes))
    execution = ExecutionOptions(tuple(devices_of(options.devices, options.device)), workers=options.workers,
                                 seed=options.seed)
    result = compare_inputs(options.dataset, asked, execution=execution, home=options.home,
                            allow_outcomes=options.allow_outcome_conditions)
    print(as_text(result.comparison))
    print(f"report: {result.report}")
    return common.list_faults([f"{title}: {why}" for title, why in result.comparison.failed.items()])


if __name__ == "__main__":
    sys.exit(main())
