"""The application: routes behind the guard."""

from collections.abc import Callable

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from autoseg.base.errors import AutosegError
from autoseg.base.version import __version__
from autoseg.serve.access import Guard
from autoseg.serve.problems import of_http, of_user, of_validation
from autoseg.serve.routes import (
    accept,
    corrections,
    datasets,
    dicomweb,
    health,
    jobs,
    metrics,
    models,
    monailabel,
    monailabel_datastore,
    monailabel_infer,
    page,
    results,
    trainings,
)
from autoseg.serve.service import Service

# Every router of the service, in the order in which addresses are looked for.
ROUTERS: tuple[Callable[[Service], APIRouter], ...] = (
    models.router, accept.router, jobs.router, results.router, corrections.router, dicomweb.router, health.router,
    metrics.router, monailabel.router, monailabel_infer.router, monailabel_datastore.router, datasets.router,
    trainings.router, page.router)

_DESCRIPTION = ("Segmentation of medical images. A job is asked for with POST /v1/jobs, followed under "
                "/v1/jobs/{id}/events, "
                "and fetched from /v1/jobs/{id}/result. Every answer that is no success has the body {\"error\": ...}.")


def make_app(service: Service) -> FastAPI:
    """The application of a service. It is served by any ASGI server; `autoseg_serve` starts uvicorn."""
    service.extras.setdefault("meter", metrics.Meter())
    app = FastAPI(title="autoseg", version=__version__, description=_DESCRIPTION, docs_url=None, redoc_url=None,
                  separate_input_output_schemas=False,
                  routes=[route for router in ROUTERS for route in router(service).routes])
    roots = (str(service.settings.spool), str(service.settings.home))
    app.add_exception_handler(HTTPException, of_http)  # starlette's: also of addresses and methods that there are not
    app.add_exception_handler(RequestValidationError, of_validation)  # type: ignore[arg-type]
    app.add_exception_handler(AutosegError, of_user(roots))
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_middleware(Guard, settings=service.settings, received=service.extras["meter"].received)
    return app


def _gone(_: Request, __: Exception) -> Response:
    """Nobody reads this: the client went away."""
    return Response(status_code=400)
