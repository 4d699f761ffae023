"""`/v1/jobs`: accept a job, follow it, answer its question, cancel it, remove it."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from autoseg.base.errors import TooLarge, UserError
from autoseg.serve.access import Gates, client_of
from autoseg.serve.problems import answers, refused, shown_job
from autoseg.serve.requests import checked_series, input_files, job_request, renamed_channels, told_apart
from autoseg.serve.routes.models import model_of
from autoseg.serve.served import ServedModel
from autoseg.serve.service import Service
from autoseg.serve.uploads import Form, of_fault, read_form
from autoseg.workspace.jobs.receiving import Receiving
from autoseg.workspace.jobs.types import FINAL, Job, JobRequest
from planners.schema.base import Frozen

TEXTS = ("model", "channels", "row", "series", "modality", "uncertainty", "inputs_of")
_POLL_SECONDS = 0.5
_HEARTBEAT_SECONDS = 15.0
JobId = Annotated[str, Path(description="The id of a job of yours", examples=["0f" * 16])]

_FORM = {"required": ["model"], "type": "object", "properties": {
    "model": {"type": "string", "description": "Name of a model (/v1/models)", "example": "Dataset004_Hippocampus"},
    "files": {"type": "array", "items": {"type": "string", "format": "binary"},
              "description": "NIfTI, NRRD, MHA, DICOM, or a zip of a study. What a file is, its first bytes say."},
    "channels": {"type": "string", "description": "JSON: for each file the name of its channel, or null",
                 "example": '["CT", "PET"]'},
    "row": {"type": "string", "description": "JSON: columns of the clinical table; absent or null: not known",
            "example": '{"age": 61, "sex": "f"}'},
    "series": {"type": "string", "description": "JSON: channel -> SeriesInstanceUID, of a DICOM study"},
    "modality": {"type": "string", "description": "CT, MR or PET, of a model that takes several", "example": "CT"},
    "uncertainty": {"type": "string", "enum": ["true", "false"], "description": "true by default"},
    "inputs_of": {"type": "string", "description": "Id of a job of yours, whose files are used again"}}}


class JobList(Frozen):
    """A client's jobs, the newest first."""

    jobs: tuple[Job, ...]


class Answer(Frozen):
    """The answer to a job's question: the series of each channel."""

    series: dict[str, str] = Field(examples=[{"CT": "1.2.840.113619.2.1"}])


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1/jobs", tags=["jobs"])
    gates = Gates()

    @routes.post("", status_code=202, summary="Ask for a segmentation", responses=answers(404, 408, 409, 410, 415),
                 openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}})
    async def create(request: Request) -> Job:
        """Send the images of one case and the name of a model. The answer is the job, which waits in the queue."""
        client = client_of(request.scope)
        await run_in_threadpool(check_queue, service, client)
        await gates.enter(client)
        try:
            return shown(service, await _received(service, request, client))
        finally:
            await gates.leave(client)

    @routes.get("", summary="Your jobs", responses=answers())
    def jobs(request: Request) -> JobList:
        """The newest first."""
        return JobList(jobs=tuple(shown(service, job) for job in service.jobs.of_client(client_of(request.scope))))

    @routes.get("/{job_id}", summary="A job of yours", responses=answers(404))
    def job(request: Request, job_id: JobId) -> Job:
        """How far it is, and what came of it."""
        return shown(service, own_job(service, request, job_id))

    @routes.get("/{job_id}/events", summary="A job of yours as it goes on", response_class=StreamingResponse,
                responses={**answers(404), 200: {"content": {"text/event-stream": {"schema": {"type": "string"}}},
                                                 "description": "server-sent events, each a job"}})
    async def events(request: Request, job_id: JobId) -> StreamingResponse:
        """Server-sent events, each a job. They end when the job has ended, or waits for an answer."""
        first = await run_in_threadpool(own_job, service, request, job_id)
        return StreamingResponse(_events(service, first), media_type="text/event-stream")

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


def check_queue(service: Service, client: str) -> None:
    """Raises 429 where the queue, or the client's part of it, is full."""
    limits, waiting = service.settings.limits, ("queued", "running", "question")
    mine = sum(job.state in waiting for job in service.jobs.of_client(client))
    of_all = sum(service.jobs.counts().get(state, 0) for state in waiting)  # type: ignore[call-overload]
    if mine >= limits.queued_per_client or of_all >= limits.queued:
        most = f"{limits.queued_per_client} jobs of a client, {limits.queued} of all"
        raise refused(429, "the queue is full", found=f"{mine} jobs of yours, {of_all} of all", expected=most,
                      do="wait until some have ended", headers={"Retry-After": "60"})


async def _received(service: Service, request: Request, client: str) -> Job:
    """The job that a request asks for; nothing of it is left where it is refused, or breaks off."""
    limits = service.settings.limits
    with ExitStack() as stack:
        folder = await run_in_threadpool(stack.enter_context, service.spool.receiving())
        try:
            receiving = Receiving(folder, limits.upload_bytes, limits.files)
            form = await read_form(request, receiving, texts=TEXTS, files=("files",))
            return await run_in_threadpool(_accepted, service, client, form, receiving)
        finally:
            await run_in_threadpool(stack.close)


def _accepted(service: Service, client: str, form: Form, receiving: Receiving) -> Job:
    """The job of a form whose files are on the disk."""
    if "model" not in form.texts:
        raise refused(422, "the form does not name a model", where="model", do="ask /v1/models for those that there are")
    model, job_id = model_of(service, form.texts["model"]), secrets.token_hex(16)
    if "inputs_of" in form.texts:
        if form.files:
            raise refused(422, "the form has files, and asks for those of another job", where="inputs_of")
        return _again(service, client, model, form, job_id)
    try:
        received = told_apart([file for _, file in form.files], receiving, service.settings.limits.unpacked_bytes)
        kind, kept = input_files(received, model, form.texts)
        asked = job_request(client, model, kind, tuple(file for _, file in kept), form.texts)
        check_queue(service, client)  # others may have come meanwhile
        service.spool.keep(job_id, kept)
    except TooLarge as error:
        raise of_fault(413, error) from None
    except UserError as error:
        raise of_fault(422, error) from None
    return _queued(service, asked, job_id)


def _again(service: Service, client: str, model: ServedModel, form: Form, job_id: str) -> Job:
    """A job with the files of another one of the same client."""
    other_id = form.texts["inputs_of"]
    other = service.jobs.get(other_id)
    if other is None or other.request.client != client:
        raise refused(404, "there is no such job", where="inputs_of", found=other_id[:80])
    if other.state == "expired":
        raise refused(410, "the files of this job are removed", where="inputs_of", found=other_id)
    kind, files = other.request.kind, renamed_channels(other.request, model, form.texts)
    asked = job_request(client, model, kind, files, form.texts)
    try:
        service.spool.share(job_id, other_id, files)
    except UserError as error:
        raise of_fault(410, error) from None
    return _queued(service, asked, job_id)


def _queued(service: Service, asked: JobRequest, job_id: str) -> Job:
    """The job in the queue; where it does not get there, its files are gone."""
    try:
        return service.jobs.accept(asked, job_id)
    except BaseException:
        service.spool.remove(job_id)
        raise


def _in_state(job: Job, change: Any) -> Job:
    """What a change makes of a job; 409 where its state was changed meanwhile."""
    try:
        changed: Job = change()
    except UserError as error:
        raise of_fault(409, error) from None
    return changed


def _wrong_state(job: Job, expected: str) -> Exception:
    return refused(410 if job.state == "expired" else 409, "the job is in another state", found=job.state, expected=expected)


async def _events(service: Service, first: Job) -> AsyncIterator[str]:
    """The job, and again whenever it changed. The server closes this when the client goes away."""
    job: Job | None = first
    silent, told = 0.0, None
    while job is not None:
        if job != told:
            yield f"data: {shown(service, job).model_dump_json()}\n\n"
            silent, told = 0.0, job
        elif silent >= _HEARTBEAT_SECONDS:
            yield ": still here\n\n"
            silent = 0.0
        if job.state in FINAL or job.state == "question":
            return
        await asyncio.sleep(_POLL_SECONDS)
        silent += _POLL_SECONDS
        job = await run_in_threadpool(service.jobs.get, first.id)
