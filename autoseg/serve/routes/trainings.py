"""`/v1/trainings`: what trains, what trained last, and start, stop and early end of folds."""

import re
from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from autoseg.base.errors import UserError, visible
from autoseg.orchestrate.detached import Training
from autoseg.orchestrate.folds import choose_folds
from autoseg.planning.store import read_plan
from autoseg.serve.events import event_stream
from autoseg.serve.problems import answers, refused
from autoseg.serve.service import Service
from autoseg.serve.training.folds import FoldKey, budget_of, fold_folder, shown_training, title_of, trainings
from autoseg.serve.training.launch import Busy, Launcher
from autoseg.serve.training.types import Log, ShownTraining, TrainingList, TrainingRequest
from autoseg.serve.uploads import of_fault
from autoseg.workspace.files import tail
from autoseg.workspace.names import Workspace

_POLL_SECONDS = 2.0
_LOG_LINES = 100
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")  # of a planner or a configuration
_NUMBER = re.compile(r"0|[1-9]\d{0,3}|all", re.ASCII)  # of a fold
_FOLD = "/v1/trainings/{dataset}/{planner}/{configuration}/{fold}"
Dataset = Annotated[str, Path(description="The name of a dataset, or its number", examples=["Dataset004_Hippocampus"],
                              max_length=200)]
Word = Annotated[str, Path(max_length=100, examples=["budgeted"])]
Fold = Annotated[str, Path(max_length=10, description="A number, or all", examples=["0"])]


def router(service: Service) -> APIRouter:
    routes = APIRouter(tags=["training"])

    @routes.get("/v1/trainings", summary="What trains, and what trained last", responses=answers())
    def listed() -> TrainingList:
        """Also of trainings that were started from a terminal."""
        launcher = launcher_of(service)
        return TrainingList(can_train=may_train(service), trainings=tuple(
            trainings(launcher.workspace, launcher.folders(), launcher.launch)))

    @routes.get(_FOLD, summary="The training of a fold", responses=answers(404))
    def training(dataset: Dataset, planner: Word, configuration: Word, fold: Fold) -> ShownTraining:
        """How far it is, with its curve."""
        return _shown(service, _known(service, dataset, planner, configuration, fold))

    @routes.get(f"{_FOLD}/log", summary="What a training printed last", responses=answers(404))
    def log(dataset: Dataset, planner: Word, configuration: Word, fold: Fold) -> Log:
        """The last 100 lines, if they went to a file."""
        folder = fold_folder(launcher_of(service).workspace, _known(service, dataset, planner, configuration, fold))
        return Log(lines=tuple(visible(line) for line in tail(folder.log, _LOG_LINES)))

    @routes.get(f"{_FOLD}/events", summary="The training of a fold as it goes on", response_class=StreamingResponse,
                responses={**answers(404), 200: {"content": {"text/event-stream": {}},
                                                 "description": "server-sent events, each a training"}})
    async def events(dataset: Dataset, planner: Word, configuration: Word, fold: Fold) -> StreamingResponse:
        """Server-sent events, each a training. They end when nobody trains the fold."""
        key = await run_in_threadpool(_known, service, dataset, planner, configuration, fold)
        return event_stream(lambda: _shown(service, key), lambda training: training.state not in ("starting", "running"),
                            _POLL_SECONDS)

    _add_changes(routes, service)
    return routes


def _add_changes(routes: APIRouter, service: Service) -> None:
    def changed(words: tuple[str, str, str, str], change: Callable[[Launcher, FoldKey], None]) -> ShownTraining:
        _check_may_train(service)
        key = _known(service, *words)
        _done(lambda: change(launcher_of(service), key))
        return _shown(service, key)

    @routes.post("/v1/trainings", status_code=202, summary="Train a fold, or go on with it", responses=answers(404, 409))
    def start(asked: TrainingRequest) -> ShownTraining:
        """In a process of its own, which goes on when the service ends; one at a time per device."""
        _check_may_train(service)
        chosen = _checked(service, asked)
        _done(lambda: launcher_of(service).train(chosen))
        return _shown(service, FoldKey(chosen.dataset, chosen.planner, chosen.configuration, chosen.fold))

    @routes.post(f"{_FOLD}/stop", status_code=202, summary="Stop a training", responses=answers(404, 409))
    def stop(dataset: Dataset, planner: Word, configuration: Word, fold: Fold) -> ShownTraining:
        """It saves itself after its iteration, within seconds; starting it again goes on from there."""
        return changed((dataset, planner, configuration, fold), Launcher.stop)

    @routes.post(f"{_FOLD}/finish", status_code=202, summary="End a training with what it has", responses=answers(404, 409))
    def finish(dataset: Dataset, planner: Word, configuration: Word, fold: Fold) -> ShownTraining:
        """It ends after its iteration, and its cases are validated."""
        return changed((dataset, planner, configuration, fold), Launcher.finish)


def launcher_of(service: Service) -> Launcher:
    """The processes of the service that train."""
    launcher: Launcher = service.extras.setdefault("launcher", Launcher(Workspace(service.settings.home),
                                                                        service.settings.devices))
    return launcher


def may_train(service: Service) -> bool:
    """Whether clients may start and stop trainings."""
    return service.settings.training


def known_dataset(service: Service, name: str) -> str:
    """The name of a dataset. Raises 404 where there is none."""
    numbered = launcher_of(service).workspace.numbered()
    found = numbered.get(int(name)) if name.isascii() and name.isdecimal() else name if name in numbered.values() else None
    if found is None:
        raise refused(404, "there is no such dataset", found=name[:80], expected=", ".join(sorted(numbered.values())))
    return found


def _check_may_train(service: Service) -> None:
    if not may_train(service):
        raise refused(403, "this service starts and stops no trainings", do="start it with autoseg_serve --training")


def _known(service: Service, dataset: str, planner: str, configuration: str, fold: str) -> FoldKey:
    """The fold of these words. Raises 404 where the workspace has none: no other word becomes a part of a path."""
    launcher, name = launcher_of(service), known_dataset(service, dataset)
    if not (_WORD.fullmatch(planner) and _WORD.fullmatch(configuration) and _NUMBER.fullmatch(fold)):
        raise refused(404, "there is no such fold", found=f"{planner} {configuration} {fold}"[:80])
    key = FoldKey(name, planner, configuration, fold)
    if fold_folder(launcher.workspace, key) not in launcher.folders() and not _is_planned(launcher.workspace, key):
        raise refused(404, "there is no such fold", found=title_of(key)[:200])
    return key


def _is_planned(workspace: Workspace, key: FoldKey) -> bool:
    try:
        return key.configuration in read_plan(workspace, key.dataset, key.planner).configurations
    except UserError:
        return False


def _checked(service: Service, asked: TrainingRequest) -> Training:
    """The training that is asked for. Each word is one that the workspace knows; else 404 or 422."""
    workspace, name = launcher_of(service).workspace, known_dataset(service, asked.dataset)
    known = [planner for planner in workspace.plans(name) if _WORD.fullmatch(planner)]
    if asked.planner not in known:
        raise refused(422, "the dataset has no plan of this planner", where="planner", found=asked.planner,
                      expected=", ".join(known) or "a plan", do=f"make it: autoseg_plan_and_preprocess -d {name}")
    try:
        configurations = [word for word in read_plan(workspace, name, asked.planner).configurations if _WORD.fullmatch(word)]
        if asked.configuration not in configurations:
            raise refused(422, "the plan has no such configuration", where="configuration", found=asked.configuration,
                          expected=", ".join(configurations))
        if not _NUMBER.fullmatch(asked.fold):
            raise refused(422, "this names no fold", where="fold", found=asked.fold, expected="a number, or all")
        (fold,) = choose_folds(workspace, name, [asked.fold])
    except UserError as error:
        raise of_fault(422, error) from None
    return Training(name, asked.planner, asked.configuration, str(fold), asked.budget_seconds)


def _done(change: Callable[[], object]) -> None:
    try:
        change()
    except Busy as error:
        raise of_fault(409, error) from None


def _shown(service: Service, key: FoldKey) -> ShownTraining:
    launcher = launcher_of(service)
    return shown_training(fold_folder(launcher.workspace, key), launcher.launch(key), budget_of(launcher.workspace, key))
