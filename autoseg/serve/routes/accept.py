"""`POST /v1/jobs`: an upload becomes a job."""

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from autoseg.base.errors import TooLarge, UserError
from autoseg.serve.access import Gates, client_of
from autoseg.serve.problems import answers, refused
from autoseg.serve.requests import input_files, job_request, renamed_channels, with_endings
from autoseg.serve.routes.jobs import shown
from autoseg.serve.routes.models import model_of
from autoseg.serve.served import ServedModel
from autoseg.serve.service import Service
from autoseg.serve.uploads import Form, of_fault, with_form
from autoseg.workspace.jobs.receiving import Receiving
from autoseg.workspace.jobs.store import QueueFull, QueueLimits
from autoseg.workspace.jobs.types import Job, JobRequest

_TEXTS = ("model", "channels", "row", "series", "modality", "uncertainty", "inputs_of")

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


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1/jobs", tags=["jobs"])
    gates = Gates()

    @routes.post("", status_code=202, summary="Ask for a segmentation", responses=answers(404, 408, 409, 410, 415, 507),
                 openapi_extra={"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _FORM}}}})
    async def create(request: Request) -> Job:
        """Send the images of one case and the name of a model. The answer is the job, which waits in the queue."""
        client = client_of(request.scope)
        await run_in_threadpool(check_queue, service, client)
        await gates.enter(client)
        try:
            job = await with_form(request, service.spool.receiving(), service.settings.limits,
                                  lambda form, receiving: accepted(service, client, form, receiving),
                                  texts=_TEXTS, files=("files",))
            return shown(service, job)
        finally:
            await gates.leave(client)

    return routes


def check_queue(service: Service, client: str) -> None:
    """Raises 429 where the queue, or the client's part of it, is full."""
    limits = queue_limits(service)
    try:
        service.jobs.check_queue(client, limits)
    except QueueFull as full:
        raise of_full_queue(full, limits) from None


def queue_limits(service: Service) -> QueueLimits:
    return QueueLimits(service.settings.limits.queued_per_client, service.settings.limits.queued)


def of_full_queue(full: QueueFull, limits: QueueLimits) -> Exception:
    return refused(429, "the queue is full", found=f"{full.of_client} jobs of yours, {full.of_all} of all",
                   expected=f"{limits.of_client} jobs of a client, {limits.of_all} of all",
                   do="wait until some have ended", headers={"Retry-After": "60"})


def accepted(service: Service, client: str, form: Form, receiving: Receiving) -> Job:
    """The job of a form whose files are on the disk."""
    if "model" not in form.texts:
        raise refused(422, "the form does not name a model", where="model", do="ask /v1/models for those that there are")
    model = model_of(service, form.texts["model"])
    if "inputs_of" in form.texts:
        if form.files:
            raise refused(422, "the form has files, and asks for those of another job", where="inputs_of")
        return _again(service, client, model, form, receiving)
    try:
        received = with_endings([file for _, file in form.files], receiving, service.settings.limits.unpacked_bytes)
        kind, kept = input_files(received, model, form.texts)
        asked = job_request(client, model, kind, tuple(file for _, file in kept), form.texts)
        receiving.arrange({path: f"{file.number}{file.ending}" for path, file in kept})
    except TooLarge as error:
        raise of_fault(413, error) from None
    except UserError as error:
        raise of_fault(422, error) from None
    return _queued(service, asked, receiving)


def _again(service: Service, client: str, model: ServedModel, form: Form, receiving: Receiving) -> Job:
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
        service.spool.share_inputs(other_id, receiving.folder)
    except UserError:  # they were removed just now
        raise refused(410, "the files of this job are removed", where="inputs_of", found=other_id) from None
    return _queued(service, asked, receiving)


def _queued(service: Service, asked: JobRequest, receiving: Receiving) -> Job:
    """The job in the queue; where it does not get there, its files are gone. Raises 429 where others filled the queue
    meanwhile.
    """
    job_id, limits = service.spool.keep(receiving.folder), queue_limits(service)
    try:
        return service.jobs.accept(asked, job_id, limits)
    except QueueFull as full:
        service.spool.remove(job_id)
        raise of_full_queue(full, limits) from None
    except BaseException:
        service.spool.remove(job_id)
        raise
