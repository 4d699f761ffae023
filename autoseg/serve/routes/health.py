"""`/health`: whether the service answers, and what its workers do."""

from typing import Any, Literal

from fastapi import APIRouter

from autoseg.base.version import __version__
from autoseg.serve.problems import answers
from autoseg.serve.service import Service
from planners.schema.base import Frozen


class WorkerState(Frozen):
    """A worker process: its device (never `auto`), what it does, and the model of its job (empty: it has none)."""

    device: str
    state: str
    model: str = ""


class Health(Frozen):
    """That the service answers, its version, and its workers."""

    status: Literal["ok"] = "ok"
    version: str = __version__
    workers: tuple[WorkerState, ...] = ()


def router(service: Service) -> APIRouter:
    routes = APIRouter(tags=["service"])

    @routes.get("/health", summary="Whether the service answers", responses=answers())
    def health() -> Health:
        """Needs no token."""
        return Health(workers=workers_of(service))

    return routes


def workers_of(service: Service) -> tuple[WorkerState, ...]:
    """What the workers do now; empty before they are started."""
    workers: Any = service.extras.get("workers")
    return () if workers is None else tuple(WorkerState(**worker) for worker in workers.states())
