"""autoseg_run: everything, from a raw dataset to a report."""

import argparse
import sys

from autoseg.cli import common


def main(argv: list[str] | None = None) -> int:
    made = common.parser("Measure, plan, prepare, train every fold of every configuration, choose the best and report. "
                         "The same command again goes on where it was stopped.",
                         "example: autoseg_run 4 --budget 30m")
    made.add_argument("dataset", help="by number or name: 4 or Dataset004_Hippocampus")
    made.add_argument("-p", "--planner", default="budgeted", metavar="NAME", help="whose plan (default: budgeted)")
    made.add_argument("-c", "--configurations", nargs="+", metavar="C", help="train only these (default: all of the plan)")
    made.add_argument("--folds", nargs="+", default=["all-folds"], metavar="F",
                      help="train only these: 0 1 2 (default: all folds)")
    made.add_argument("--budget", type=common.seconds, metavar="TIME",
                      help="training time of a fold, validation included: 90s, 30m, 4h (default: 4h on a GPU, 1h else)")
    made.add_argument("--memory", type=common.memory, metavar="SIZE",
                      help="memory to plan for, such as 8G (default: what the device has)")
    made.add_argument("--seed", type=int, default=0, help="of weights, sampling and augmentation (default: 0)")
    common.add_outcomes(made)
    common.add_device(made)
    common.add_devices(made)
    common.add_workers(made)
    return common.run(_run, made, argv)


def _run(options: argparse.Namespace) -> int:
    from autoseg.orchestrate.folds import failures, fold_table
    from autoseg.orchestrate.processes import devices_of
    from autoseg.orchestrate.run import ExecutionOptions, run
    from autoseg.selection.text import as_text

    execution = ExecutionOptions(tuple(devices_of(options.devices, options.device)), options.cluster, options.workers, options.seed)
    result = run(options.dataset, planner=options.planner, configurations=options.configurations, folds=options.folds,
              budget_seconds=options.budget, memory_bytes=options.memory, execution=execution, home=options.home,
              allow_outcomes=options.allow_outcome_conditions)
    for configuration in dict.fromkeys(outcome.task.configuration for outcome in result.outcomes):
        table = fold_table([outcome for outcome in result.outcomes if outcome.task.configuration == configuration])
        print(f"{configuration}:\n{table or 'no fold was validated'}")
    if result.selection is not None:
        print(as_text(result.selection))
    print(f"report: {result.report}")
    return common.list_faults([*failures(result.outcomes), *result.faults])


if __name__ == "__main__":
    sys.exit(main())
