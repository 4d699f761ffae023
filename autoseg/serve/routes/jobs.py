"""`/v1/jobs`: follow a job, answer its question, cancel it, remove it."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from autoseg.base.errors import UserError
from autoseg.serve.access import client_of
from autoseg.serve.events import event_stream
from autoseg.serve.problems import answers, refused, shown_job
from autoseg.serve.requests import checked_series
from autoseg.serve.service import Service
from autoseg.serve.uploads import of_fault
from autoseg.workspace.jobs.types import FINAL, Job
from planners.schema.base import Frozen

_POLL_SECONDS = 0.5
JobId = Annotated[str, Path(description="The id of a job of yours", examples=["0f" * 16])]


class JobList(Frozen):
    """A client's jobs, the newest first."""

    jobs: tuple[Job, ...]


class Answer(Frozen):
    """The answer to a job's question: the series of each channel."""

    series: dict[str, str] = Field(examples=[{"CT": "1.2.840.113619.2.1"}])


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1/jobs", tags=["jobs"])

    @routes.get("", summary="Your jobs", responses=answers())
    def jobs(request: Request) -> JobList:
        """The newest first."""
        return JobList(jobs=tuple(shown(service, job) for job in service.jobs.of_client(client_of(request.scope))))

    @routes.get("/{job_id}", summary="A job of yours", responses=answers(404))
    def job(request: Request, job_id: JobId) -> Job:
        """How far it is, and what came of it."""
        return shown(service, own_job(service, request, job_id))

    @routes.get("/{job_id}/events", summary="A job of yours as it goes on", response_class=StreamingResponse,
                responses={**answers(404), 200: {"content": {"text/event-stream": {}},
                                                 "description": "server-sent events, each a job"}})
    async def events(request: Request, job_id: JobId) -> StreamingResponse:
        """Server-sent events, each a job. They end when the job has ended, or waits for an answer."""
        await run_in_threadpool(own_job, service, request, job_id)
        return event_stream(lambda: None if (job := service.jobs.get(job_id)) is None else shown(service, job),
                            lambda job: job.state in FINAL or job.state == "question", _POLL_SECONDS)

    @routes.post("/{job_id}/answer", summary="Answer a job's question", responses=answers(404, 409, 410))
    def answer(request: Request, job_id: JobId, said: Answer) -> Job:
        """Which series of the study is which channel. The job then waits in the queue again."""
        asked = own_job(service, request, job_id)
        if asked.state != "question" or asked.question is None:
            raise _wrong_state(asked, "a job that has a question")
        series = checked_series(said.series, list(asked.question.channels))
        for channel, choices in asked.question.channels.items():
            if series.get(channel) not in {choice.uid for choice in choices}:
                raise refused(422, f"the series of {channel} is none of those that were offered", where="series",
                              found=series.get(channel, "none"), expected=", ".join(choice.uid for choice in choices))
        return shown(service, _in_state(asked, lambda: service.jobs.answer(job_id, series)))

    @routes.post("/{job_id}/cancel", summary="Cancel a job", responses=answers(404, 409))
    def cancel(request: Request, job_id: JobId) -> Job:
        """A running job stops within a few seconds."""
        running = own_job(service, request, job_id)
        if running.state in FINAL:
            raise _wrong_state(running, "a job that has not ended")
        return shown(service, _in_state(running, lambda: service.jobs.cancel(job_id)))

    @routes.delete("/{job_id}", status_code=204, summary="Remove a job", responses=answers(404))
    def remove(request: Request, job_id: JobId) -> Response:
        """Its files and all that is known of it are removed at once; where it runs, it is cancelled."""
        own_job(service, request, job_id)
        service.jobs.remove(job_id)
        service.spool.remove(job_id)
        return Response(status_code=204)

    return routes


def own_job(service: Service, request: Request, job_id: str) -> Job:
    """A job of the client that asks. Raises 404 where there is none, and where it is somebody else's."""
    job = service.jobs.get(job_id)
    if job is None or job.request.client != client_of(request.scope):
        raise refused(404, "there is no such job", found=job_id[:80], do="ask /v1/jobs for your jobs")
    return job


def shown(service: Service, job: Job) -> Job:
    """A job as its client sees it."""
    return shown_job(job, (str(service.settings.spool), str(service.settings.home)))


def _in_state(job: Job, change: Any) -> Job:
    """What a change makes of a job; 409 where its state was changed meanwhile."""
    try:
        changed: Job = change()
    except UserError as error:
        raise of_fault(409, error) from None
    return changed


def _wrong_state(job: Job, expected: str) -> Exception:
    return refused(410 if job.state == "expired" else 409, "the job is in another state", found=job.state, expected=expected)
