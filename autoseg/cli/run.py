"""autoseg_run: all stages, from a raw dataset to a report."""

import argparse
import sys
from typing import TYPE_CHECKING

from autoseg.cli import common

if TYPE_CHECKING:
    from autoseg.orchestrate.run import RunResult


def parser() -> argparse.ArgumentParser:
    command = common.parser("Measure, plan, prepare, train every fold of every configuration, choose the best and report."
                            "\nThe same command again continues where it was stopped.",
                            "example: autoseg_run 4 --budget 30m\n"
                            "         autoseg_run 4 --total 2h")
    command.add_argument("dataset", help="by number or name: 4 or Dataset004_Hippocampus")
    planning = command.add_mutually_exclusive_group()
    planning.add_argument("-p", "--planner", default="budgeted", metavar="NAME",
                          help="planner of the plan, with --budget or --total (default: budgeted)")
    planning.add_argument("--planners", nargs="+", metavar="NAME",
                          help="in place of -p, with --total: the configurations of several planners race, such as budgeted "
                               "resenc_m")
    command.add_argument("-c", "--configurations", nargs="+", metavar="C",
                         help="train only these configurations (default: all of the plan)")
    command.add_argument("--folds", nargs="+", default=["all-folds"], metavar="F",
                         help="train only these folds: 0 1 2 (default: all folds)")
    time = command.add_mutually_exclusive_group()
    time.add_argument("--budget", type=common.seconds, metavar="TIME",
                      help="training time per fold with validation: 90s, 30m, 4h (default: 4h on a GPU, 1h else)")
    time.add_argument("--total", type=common.seconds, metavar="TIME",
                      help="time of everything together: configurations race for it on one fold, and only the winner is "
                           "trained on every fold")
    common.add_memory(command)
    common.add_seed(command)
    common.add_deterministic(command)
    common.add_outcomes(command)
    common.add_device(command)
    common.add_devices(command)
    common.add_cluster(command)
    common.add_tracker(command)
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> int:
    from autoseg.orchestrate.folds import failures, fold_table
    from autoseg.selection.race_text import as_lines
    from autoseg.selection.text import as_text

    result = _result(options)
    for configuration in dict.fromkeys(outcome.task.configuration for outcome in result.outcomes):
        table = fold_table([outcome for outcome in result.outcomes if outcome.task.configuration == configuration])
        print(f"{configuration}:\n{table or 'no fold was validated'}")
    if result.race is not None:
        print("race:\n" + "\n".join(f"  {line}" for line in as_lines(result.race)))
    if result.selection is not None:
        print(as_text(result.selection))
    print(f"report: {result.report}")
    return common.list_faults([*failures(result.outcomes), *result.faults])


def _result(options: argparse.Namespace) -> "RunResult":
    from autoseg.base.errors import UserError
    from autoseg.orchestrate.processes import devices_of
    from autoseg.orchestrate.run import ExecutionOptions, run
    from autoseg.orchestrate.total import TotalOptions, run_within
    from autoseg.tracking.follow import check_trackers

    check_trackers(options.tracker)
    execution = ExecutionOptions(tuple(devices_of(options.devices, options.device)), common.cluster(options),
                                 options.workers, options.seed, options.deterministic, tuple(options.tracker))
    if options.total is None:
        if options.planners:
            raise UserError("several planners need a total time", found=f"--planners {' '.join(options.planners)}",
                            do="say --total TIME, or one planner with -p")
        return run(options.dataset, planner=options.planner, configurations=options.configurations, folds=options.folds,
                   budget_seconds=options.budget, memory_bytes=options.memory, execution=execution, home=options.home,
                   allow_outcomes=options.allow_outcome_conditions)
    if options.deterministic:
        raise UserError("a race within a total time follows the clock", found="--total with --deterministic",
                        do="give each fold its time with --budget")
    asked = TotalOptions(options.total, planners=tuple(dict.fromkeys(options.planners or [options.planner])),
                         configurations=options.configurations and tuple(options.configurations),
                         folds=tuple(options.folds), memory_bytes=options.memory)
    return run_within(options.dataset, asked, execution=execution, home=options.home,
                      allow_outcomes=options.allow_outcome_conditions)


if __name__ == "__main__":
    sys.exit(main())
