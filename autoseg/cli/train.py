"""autoseg_train: one fold of one configuration, or several."""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from autoseg.cli import common

if TYPE_CHECKING:
    from autoseg.training.validate import FoldResult
    from autoseg.workspace.names import Workspace
    from planners.schema.plan import Plan, Transfer


def parser() -> argparse.ArgumentParser:
    command = common.parser("Train folds. The same command again resumes them, or says that they are finished.",
                            "example: autoseg_train 1 3d_fullres 0 --budget 30m\n"
                            "         autoseg_train 1 3d_fullres all-folds\n"
                            "         autoseg_train 1          # fold 0 of the configuration that the plan advises\n"
                            "         torchrun --nproc_per_node 2 -m autoseg.cli.train 1 3d_fullres 0")
    command.add_argument("dataset", help="by number or name: 1 or Dataset001_Name")
    command.add_argument("configuration", nargs="?",
                         help="2d, 3d_fullres, 3d_lowres or 3d_cascade_fullres (default: the one that the plan advises)")
    command.add_argument("folds", nargs="*", metavar="fold",
                         help="0, or several: 0 1 2 or 0,1,2 or all-folds; or all (train on every case, validate none); "
                              "default: 0")
    command.add_argument("-p", "--planner", default="budgeted", metavar="NAME",
                         help="planner of the plan (default: budgeted)")
    command.add_argument("--budget", type=common.seconds, metavar="TIME",
                         help="make a new plan for this training time per fold with validation: 90s, 30m, 4h")
    command.add_argument("--memory", type=common.memory, metavar="SIZE", help="make a new plan for this memory: 8G")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", dest="changes",
                         help="change a value of the plan: schedule.iterations=5000; may be repeated")
    command.add_argument("--appearance", nargs="+", default=[], metavar="NAME",
                         help="gin (random contrast: for images of another modality), histogram (bent grey values and bias "
                              "field: of another scanner), or both")
    command.add_argument("--allow-gin-on-ct", action="store_true",
                         help="with gin: also on channels in Hounsfield units, which then mean nothing to the model")
    command.add_argument("--class_weights", nargs="+", default=[], metavar="LABEL=WEIGHT",
                         help="labels that count more, or less, in the loss and in what patches are sampled for: tumour=3")
    command.add_argument("--plan", metavar="FILE", help="use this plan file, not the planner's; --set changes it")
    command.add_argument("--from", metavar="PATH", dest="source",
                         help="begin with the weights of another model: the folder of a pre-training, of a model, or of one "
                              "of its folds; or a model in one file (autoseg_export_model)")
    command.add_argument("--freeze", choices=("encoder", "none"),
                         help="with --from: encoder keeps its weights as they are (default: none)")
    command.add_argument("--allow-seen", action="store_true",
                         help="with --from: although it was trained on cases that this fold is validated on")
    command.add_argument("--twin", action="store_true",
                         help="also train the same fold from scratch with the same time, and compare")
    common.add_seed(command)
    common.add_deterministic(command)
    command.add_argument("--restart", action="store_true", help="delete what these folds have and start again")
    command.add_argument("--as_started", action="store_true",
                         help="although the dataset was changed: go on with the folds that the model was started with, and "
                              "with the cases as they were prepared")
    bend = command.add_mutually_exclusive_group()
    bend.add_argument("--finish", action="store_true",
                      help="end a stopped fold with what it has, and validate it; a running one ends after its iteration")
    bend.add_argument("--extend", type=common.seconds, metavar="TIME",
                      help="go on with a finished fold for this time, with validation, from its weights: 30m")
    command.add_argument("--save_probabilities", action="store_true",
                         help="also write the probabilities of the validation cases, compressed; of a finished fold, those "
                              "that are missing. Ensembles and quality control need them")
    common.add_device(command)
    common.add_devices(command)
    common.add_cluster(command)
    common.add_tracker(command)
    return command


def main(argv: list[str] | None = None) -> int:
    return common.run(_run, parser(), argv)


def _run(options: argparse.Namespace) -> int:
    from autoseg.training.distributed import joined

    with joined(options.device) as device:
        return _train(options, device)


def _train(options: argparse.Namespace, device: str) -> int:
    from autoseg.base.ranks import agreed, is_first, ranks
    from autoseg.orchestrate.folds import choose_folds
    from autoseg.workspace.names import Workspace

    workspace = Workspace.open(options.home)
    _complete(options, workspace)
    options.changes += [*_appearance(options), *_class_weights(options)]
    folds = choose_folds(workspace, workspace.dataset(options.dataset), options.folds)
    _check_bend(options, folds)
    if ranks().n == 1 and (len(folds) > 1 or options.cluster or options.devices):
        return _train_folds(options, device, folds, workspace)
    if options.finish and agreed(is_first() and _is_finished_elsewhere(options, folds[0])):
        print(f"fold {folds[0]} is being trained by another process, which was asked to finish it")
        return 0
    _train_fold(options, device, folds[0], workspace)
    return 0


def _complete(options: argparse.Namespace, workspace: "Workspace") -> None:
    """Fill in what was left out: the configuration that the plan advises, and fold 0.

    A first word that can only be a fold, as in `autoseg_train 1 0`, is one.
    """
    from autoseg.base.errors import UserError
    from autoseg.orchestrate.folds import is_fold
    from autoseg.planning.resolve import advised_configuration
    from autoseg.training.inputs import check_one_way

    if options.configuration is not None and is_fold(options.configuration):
        options.folds.insert(0, options.configuration)
        options.configuration = None
    check_one_way(restart=options.restart, as_started=options.as_started)
    options.folds = options.folds or ["0"]
    if options.configuration is None and options.restart:
        raise UserError("--restart deletes trainings, and no configuration is named",
                        do="name it: autoseg_train DATASET CONFIGURATION FOLD --restart")
    if options.configuration is None:
        options.configuration = advised_configuration(workspace, workspace.dataset(options.dataset), options.planner,
                                                      None if options.plan is None else Path(options.plan))


def _train_fold(options: argparse.Namespace, device: str, fold: int | str, workspace: "Workspace") -> None:
    from autoseg import pipeline
    from autoseg.base.ranks import agreed, is_first
    from autoseg.tracking.follow import FollowedFold, check_trackers, tracked

    check_trackers(options.tracker)
    planned = agreed(_resolved(options, device, workspace))
    folder = workspace.fold(planned.dataset, planned.planner, options.configuration, fold)
    with tracked(options.tracker, FollowedFold(planned, options.configuration, fold, folder, options.seed)):
        result = pipeline.train(options.dataset, options.configuration, fold, planner=options.planner, planned=planned,
                                seed=options.seed, restart=options.restart, as_started=options.as_started,
                                save_probabilities=options.save_probabilities, extend_seconds=options.extend,
                                home=options.home, device=device)
    if is_first():
        _show(result, options.dataset)
    if options.twin:
        _train_twin(options, device, planned, result, workspace)


def _train_folds(options: argparse.Namespace, device: str, folds: "list[int | str]", workspace: "Workspace") -> int:
    from autoseg.orchestrate.distribute import connected
    from autoseg.orchestrate.folds import begin_folds, failures, fold_table
    from autoseg.orchestrate.processes import devices_of
    from autoseg.orchestrate.progress import Overview, shown
    from autoseg.orchestrate.run import ExecutionOptions, train_tasks
    from autoseg.tracking.follow import check_trackers

    check_trackers(options.tracker)
    execution = ExecutionOptions(tuple(devices_of(options.devices, device)), common.cluster(options), seed=options.seed)
    planned = _resolved(options, execution.devices[0], workspace)
    tasks = begin_folds(workspace, planned, options.configuration, folds, restart=options.restart,
                        as_started=options.as_started, save_probabilities=options.save_probabilities,
                        trackers=options.tracker)
    with connected(execution.cluster) as nodes:
        overview = Overview(tasks, len(execution.devices) if nodes is None else nodes.n_folds_at_once)
        with shown(overview):
            outcomes = list(train_tasks(tasks, overview, execution, workspace.home, nodes))
    outcomes.sort(key=lambda outcome: tasks.index(outcome.task))
    print(fold_table(outcomes))
    for outcome in outcomes if options.twin else ():
        if outcome.result is not None:
            _train_twin(options, execution.devices[0], planned, outcome.result, workspace)
    return common.list_faults(failures(outcomes))


def _appearance(options: argparse.Namespace) -> list[str]:
    """What `--appearance` changes in the plan, as `--set` writes it."""
    from autoseg.base.errors import UserError

    if options.allow_gin_on_ct and "gin" not in options.appearance:
        raise UserError("--allow-gin-on-ct says nothing without gin", do="add --appearance gin")
    parts = [{"name": name, "options": {"allow_on_ct": True} if name == "gin" and options.allow_gin_on_ct else {}}
             for name in options.appearance]
    return [f"appearance={json.dumps(parts)}"] if parts else []


def _class_weights(options: argparse.Namespace) -> list[str]:
    """What `--class_weights` changes in the plan, as `--set` writes it."""
    from autoseg.base.errors import UserError

    weights = {}
    for text in options.class_weights:
        name, sign, value = text.rpartition("=")
        try:
            weights[name] = float(value)
        except ValueError:
            sign = ""
        if not sign or not name:
            raise UserError("a weight of --class_weights is not of the form LABEL=WEIGHT", found=text, expected="tumour=3")
        if not 0 < weights[name] < math.inf:
            raise UserError("a weight of --class_weights is not a number above 0", found=text, expected="tumour=3",
                            do="leave a label out to give it the weight 1")
    return [f"class_weights={json.dumps(weights)}"] if weights else []


def _check_bend(options: argparse.Namespace, folds: "list[int | str]") -> None:
    """A UserError where `--finish` or `--extend` does not say of which one training."""
    from autoseg.base.errors import UserError

    if not options.finish and options.extend is None:
        return
    flag = "--finish" if options.finish else "--extend"
    if options.restart:
        raise UserError(f"--restart begins anew, and {flag} goes on with what is there", do="give one of them")
    if options.tracker and options.extend is not None:
        raise UserError("no tracker follows an extension", found=f"--tracker {' '.join(options.tracker)}",
                        do="leave out --tracker; the run of the training before stays as it is")
    if len(folds) > 1 or options.cluster or options.devices:
        raise UserError(f"{flag} is for one fold at a time", found=", ".join(map(str, folds)), do="name one fold")


def _is_finished_elsewhere(options: argparse.Namespace, fold: int | str) -> bool:
    from autoseg import pipeline

    return pipeline.ask_to_finish(options.dataset, options.configuration, fold, planner=options.planner, home=options.home)


def _transfer(options: argparse.Namespace, workspace: "Workspace") -> "Transfer | None":
    from autoseg.base.errors import UserError
    from autoseg.training.source import transfer_from

    if options.source is None and (options.freeze or options.allow_seen):
        raise UserError("--freeze and --allow-seen say nothing without --from",
                        do="add --from MODEL; a training that was started so goes on without any of them")
    return transfer_from(workspace, options.source, options.freeze or "none", allow_seen=options.allow_seen)


def _train_twin(options: argparse.Namespace, device: str, planned: "Plan", result: "FoldResult", workspace: "Workspace"
                ) -> None:
    """Train a finished fold from scratch, too, and print how both compare."""
    from autoseg.base.progress import duration
    from autoseg.base.ranks import is_first
    from autoseg.evaluation.comparison import as_text
    from autoseg.orchestrate.twin import train_twin
    from autoseg.reporting.twins import compared

    twin = train_twin(workspace, planned, options.configuration, result.fold, device=device, seed=options.seed,
                      restart=options.restart, as_started=options.as_started)
    if is_first():
        print(f"fold {result.fold} from scratch: {twin.schedule.iterations} iterations, {duration(twin.total_seconds)}")
        comparison = compared(result, twin)
        print("" if comparison is None else as_text(comparison))


def _resolved(options: argparse.Namespace, device: str, workspace: "Workspace") -> "Plan":
    from autoseg.orchestrate.twin import check_twin
    from autoseg.planning.resolve import resolve_plan
    from planners.schema.hardware import Budget

    planned = resolve_plan(workspace, workspace.dataset(options.dataset), options.configuration, planner=options.planner,
                           budget=Budget(memory_bytes=options.memory, seconds_per_fold=options.budget),
                           changes=options.changes, file=None if options.plan is None else Path(options.plan),
                           restart=options.restart, device=device, deterministic=options.deterministic,
                           transfer=_transfer(options, workspace))
    if options.twin:
        check_twin(planned, options.configuration)
    return planned


def _show(result: "FoldResult", dataset: str) -> None:
    from autoseg.base.progress import duration
    from autoseg.evaluation.table import table

    planned = f" of {result.planned_iterations}" if result.planned_iterations is not None else ""
    before = sum(extension.iterations_before for extension in result.extended)
    print(f"{result.dataset} {result.configuration} fold {result.fold}: {before or ''}{' + ' if before else ''}"
          f"{result.schedule.iterations}{planned} iterations, {duration(result.total_seconds)}")
    if result.scores is not None:
        print(table(result.scores))
    for fault in result.unscored:
        print(f"not scored: {fault}")
    print(f"next: autoseg_predict -i IMAGES -o MASKS -d {dataset}")


if __name__ == "__main__":
    sys.exit(main())
