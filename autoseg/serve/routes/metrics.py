"""`/metrics`: what Prometheus reads."""

from collections.abc import Iterator
from typing import Any, get_args

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from autoseg.base.version import __version__
from autoseg.serve.problems import answers
from autoseg.serve.routes.health import workers_of
from autoseg.serve.service import Service
from autoseg.workspace.jobs.types import State


class Meter:
    """What is counted while the service runs; what the database knows is read when it is asked for."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._received = Counter("autoseg_received_bytes", "bytes of all requests", registry=self.registry)

    def received(self, n_bytes: int) -> None:
        """More bytes came in."""
        self._received.inc(n_bytes)


class _Jobs:
    """The state of jobs and workers at the moment when it is asked for."""

    def __init__(self, service: Service):
        self._service = service

    def collect(self) -> Iterator[Metric]:
        counts = self._service.jobs.counts()
        jobs = GaugeMetricFamily("autoseg_jobs", "jobs by state", labels=["state"])
        for state in get_args(State):
            jobs.add_metric([state], counts.get(state, 0))
        yield jobs
        workers = GaugeMetricFamily("autoseg_workers", "workers by device, state and model",
                                    labels=["device", "state", "model"])
        for worker in workers_of(self._service):
            workers.add_metric([worker.device, worker.state, worker.model], 1)
        yield workers
        build = GaugeMetricFamily("autoseg_build", "the version that runs", labels=["version"])
        build.add_metric([__version__], 1)
        yield build

    def describe(self) -> list[Metric]:
        return []  # nothing is asked of the database when the service starts


def router(service: Service) -> APIRouter:
    routes = APIRouter(tags=["service"])
    meter: Meter = service.extras["meter"]
    meter.registry.register(_Jobs(service))

    @routes.get("/metrics", summary="Figures for Prometheus", response_class=Response,
                responses={**answers(), 200: {"content": {"text/plain": {"schema": {"type": "string"}}},
                                              "description": "Prometheus text"}})
    def metrics() -> Any:
        """Jobs by state, the queue, workers, and bytes that came in."""
        return Response(generate_latest(meter.registry), media_type=CONTENT_TYPE_LATEST)

    return routes
