"""autoseg_plan_and_preprocess: fingerprint, plan, preprocess."""

import argparse
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.cli import common

if TYPE_CHECKING:
    from autoseg.base.processes import WorkerPool
    from planners.schema.plan import Plan


def parser() -> argparse.ArgumentParser:
    command = common.parser("Measure a dataset, plan its training and prepare its cases.",
                            "example: autoseg_plan_and_preprocess -d 4 --budget 2h")
    command.add_argument("-d", "--dataset", required=True, nargs="+", metavar="D",
                         help="dataset(s), by number or name: 4 or Dataset004_Hippocampus")
    command.add_argument("-p", "--planner", default="budgeted", metavar="NAME",
                         help="budgeted (default), classic, light, resenc_m, resenc_l, resenc_xl, primus, vit2d, or a "
                              "plug-in's; or a plan file, such as a model's plan.json: cases are prepared as it says, and "
                              "nothing is planned")
    command.add_argument("-c", "--configurations", nargs="+", metavar="C",
                         help="prepare only these: 2d 3d_fullres 3d_lowres 3d_cascade_fullres (default: all of the plan)")
    command.add_argument("--budget", type=common.seconds, metavar="TIME",
                         help="training time per fold with validation: 90s, 30m, 4h (default: 4h on a GPU, 1h else)")
    common.add_memory(command)
    command.add_argument("--like", metavar="PATH",
                         help="plan the network, patch and grid like those of the model in this folder or file, so that its "
                              "weights fit (autoseg_train --from); the plan is called like_PLANNER")
    command.add_argument("--replan", action="store_true",
                         help="plan anew, although there is a plan of the same data, budget, memory and device, or a model "
                              "was started with other prepared cases")
    common.add_outcomes(command)
    common.add_device(command)
    common.add_workers(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> None:
    from autoseg.base.processes import WorkerPool, cores, expect_workers
    from autoseg.workspace.locks import locked
    from autoseg.workspace.names import Workspace

    workspace = Workspace.open(options.home)
    workers = options.workers or cores()
    if workers > 1:
        expect_workers()
    with WorkerPool(workers) if workers > 1 else nullcontext() as worker_pool:
        for dataset in options.dataset:
            with locked(workspace.prepared(workspace.dataset(dataset))):  # nobody else plans meanwhile
                _prepare(dataset, options, worker_pool)


def _prepare(dataset: str, options: argparse.Namespace, worker_pool: "WorkerPool | None") -> None:
    from autoseg import pipeline
    from autoseg.base.stopping import resumable
    from planners.rules.advice import advice_of

    measured = pipeline.fingerprint(dataset, allow_outcomes=options.allow_outcome_conditions, home=options.home,
                                    workers=options.workers, worker_pool=worker_pool)
    plan = _plan(dataset, options)
    print(f"{plan.dataset}, planned by {plan.planner}:")
    for reason in plan.reasons:
        print(f"  {reason}")
    with resumable():
        folders = pipeline.preprocess(dataset, planned=plan, configurations=options.configurations, home=options.home,
                                      workers=options.workers, worker_pool=worker_pool)
    for folder in folders:
        print(f"prepared: {folder}")
    advice = advice_of(plan, options.configurations)
    planner = "" if plan.planner == pipeline.DEFAULT_PLANNER else f" -p {plan.planner}"
    fold = "all" if len(measured.cases) < 2 else "0"  # one case alone cannot be validated
    source = f" --from {options.like}" if options.like else ""
    print(f"next: autoseg_train {dataset} {advice.configuration} {fold}{planner}{source}\n  {advice.reason}")


def _plan(dataset: str, options: argparse.Namespace) -> "Plan":
    """The plan to prepare by: that of a file as it is, else the dataset's, made now where there is none that fits."""
    from autoseg import pipeline
    from autoseg.base.errors import UserError
    from autoseg.planning.store import read_plan_file
    from autoseg.workspace.names import Workspace
    from planners.schema.hardware import Budget

    if options.like is not None and options.planner != pipeline.DEFAULT_PLANNER:
        raise UserError("--like plans by a model, -p by a planner", found=options.planner, do="give one of them")
    if options.planner.endswith(".json"):
        budget = Budget(memory_bytes=options.memory, seconds_per_fold=options.budget)
        return read_plan_file(Path(options.planner), Workspace.open(options.home).dataset(dataset), budget)
    return pipeline.plan(dataset, planner=options.planner, budget_seconds=options.budget, memory_bytes=options.memory,
                         home=options.home, device=options.device, replan=options.replan, like=options.like)


if __name__ == "__main__":
    sys.exit(main())
