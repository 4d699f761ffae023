"""`/v1/jobs/{id}/correction`: the corrected mask of a job, kept as a training case (`--collect`)."""

from contextlib import ExitStack
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool

from autoseg.base.errors import TooLarge
from autoseg.interop.collect import Cell
from autoseg.serve.access import client_of
from autoseg.serve.collecting import folder_of, given_label, keep_correction, source_of
from autoseg.serve.problems import answers, refused
from autoseg.serve.routes.jobs import own_job
from autoseg.serve.service import Service
from autoseg.serve.uploads import of_fault, timely_blocks
from autoseg.workspace.jobs.receiving import ReceivedFile, Receiving
from autoseg.workspace.jobs.types import Job
from planners.schema.base import Frozen


class Kept(Frozen):
    """Where a correction lies: the dataset, and the name of the case in it. `replaced`: it had a label before."""

    dataset: str
    case: str
    replaced: bool
    notes: tuple[str, ...] = ()


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1/jobs", tags=["jobs"])

    @routes.post("/{job_id}/correction", status_code=201, summary="Keep a corrected mask as a training case",
                 responses=answers(404, 409, 410, 415), openapi_extra={"requestBody": {"required": True, "content": {
                     "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}})
    async def correct(request: Request, job_id: str, comment: Annotated[str, Query(max_length=1000)] = "") -> Kept:
        """The body is the mask as NIfTI, on the grid of the job and with the values of its labels. The images of the job are
        stored with it. A second correction of the same images replaces the first, which is kept aside.
        """
        job = await run_in_threadpool(own_job, service, request, job_id)
        await run_in_threadpool(folder_of, service)
        if job.state != "done" or job.result is None:
            raise refused(410 if job.state == "expired" else 409, "the job is in another state", found=job.state,
                          expected="a job that is done")
        limits = service.settings.limits
        with ExitStack() as stack:
            folder = await run_in_threadpool(stack.enter_context, service.spool.receiving())
            try:
                receiving = Receiving(folder, limits.upload_bytes, 1)
                await run_in_threadpool(receiving.begin, "label")
                async for block in timely_blocks(request):
                    await run_in_threadpool(receiving.write, block)
                return await run_in_threadpool(_kept, service, job, receiving.end(), client_of(request.scope), comment)
            except TooLarge as error:
                raise of_fault(413, error) from None
            finally:
                receiving.close()
                await run_in_threadpool(stack.close)

    return routes


def _kept(service: Service, job: Job, file: ReceivedFile, client: str, comment: str) -> Kept:
    assert job.result is not None  # it is done
    asked = job.request
    served = service.catalogue.find(asked.model)
    if served is None:
        raise refused(410, "the model of the job is not offered any more", found=asked.model)
    row: dict[str, Cell] = dict(asked.row)
    if asked.modality:
        row |= {column: asked.modality for column in service.catalogue.plan(asked.model).modality_columns.values()}
    folder, channels = service.spool.job(job.id), [channel.name for channel in served.channels]
    images = {channel: folder.image(channels.index(channel)) for channel in job.result.images}
    sent = {file.channel: folder.input_file(file.number, file.ending) for file in asked.files if file.channel}
    images |= {channel: path for channel, path in sent.items() if path.is_file()}  # they are removed before the result
    stored = keep_correction(service, asked.model, images, given_label(file, None, {}), row,
                             source_of(client, asked.model, job.result.model_identity, comment))
    return Kept(dataset=stored.dataset, case=stored.case, replaced=stored.replaced, notes=stored.notes)
