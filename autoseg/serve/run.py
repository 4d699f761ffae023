"""A service from its start to its end."""

import asyncio
import logging
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from autoseg.base.errors import UserError
from autoseg.serve.access import is_loopback
from autoseg.serve.catalogue import Catalogue
from autoseg.serve.settings import ServeSettings
from autoseg.serve.workers import Workers
from autoseg.workspace.jobs.spool import Spool
from autoseg.workspace.jobs.store import JobStore
from autoseg.workspace.tokens import HOW_TO

_SECONDS_TO_FINISH = 5  # of answers that are on their way when the service is stopped
_CONNECTIONS = 512  # at a time; more are refused with 503
_WAITING = 128  # connections that the system holds until they are accepted


def address_of(settings: ServeSettings) -> str:
    """The address to open in a browser."""
    host = "localhost" if is_loopback(settings.host) else f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


def check_safe(settings: ServeSettings) -> None:
    """A UserError where others than the users of this machine could ask without a token."""
    if not settings.tokens and not is_loopback(settings.host):
        raise UserError("a service that other machines reach needs tokens", where="--host", found=settings.host,
                        do=f"make a file of them and name it with --tokens FILE: {HOW_TO}")


def serve(settings: ServeSettings, started: Callable[[int], object]) -> None:
    """Serve until the process is asked to stop. `started` is called with the number of models, once the address is bound.

    The queue is kept, and a job that ran then runs again after the next start. Raises UserError where a package is missing,
    the address is taken, another service holds the spool, or other machines could ask without a token.
    """
    check_safe(settings)
    uvicorn = _uvicorn()
    from autoseg.serve.app import make_app  # and with it what the extra installs
    from autoseg.serve.dicom_network import dicom_network
    from autoseg.serve.service import Service

    spool = Spool(settings.spool)
    with spool.held(), bound(settings) as listener:
        hours = settings.limits.result_hours
        jobs = JobStore(spool.database, result_seconds=hours * 3600, attempts=settings.limits.attempts)
        service = Service(settings, jobs, spool, Catalogue(settings.home, settings.model_files))
        logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # the client gets these faults
        config = uvicorn.Config(make_app(service), log_level="warning", access_log=False, server_header=False,
                                proxy_headers=False, ws="none", http="h11", limit_concurrency=_CONNECTIONS,
                                timeout_graceful_shutdown=_SECONDS_TO_FINISH)
        with Workers(settings, spool, jobs) as workers, dicom_network(service):
            service.extras["workers"] = workers
            started(len(service.catalogue.served()))
            asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


def _uvicorn() -> ModuleType:
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn
    except ImportError as error:
        raise UserError("the service needs packages that are not installed", found=error,
                        do="pip install 'autoseg-pipeline[serve]'") from None
    return uvicorn


@contextmanager
def bound(settings: ServeSettings) -> Iterator[socket.socket]:
    """A socket that listens on the address. Raises UserError where it is taken or not this machine's."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((settings.host, settings.port))
            listener.listen(_WAITING)
        except OSError as error:
            raise UserError("the service cannot answer on this address", where=f"{settings.host}, port {settings.port}",
                            found=error.strerror or error, do="name another one with --host and --port, or stop what uses it"
                            ) from None
        yield listener
