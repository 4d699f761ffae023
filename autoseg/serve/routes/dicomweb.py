"""`/v1/dicomweb`: list the studies of a server of DICOMweb, and take one as a job."""

import json
import secrets
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from autoseg.base.errors import TooLarge, UserError
from autoseg.formats.dicom.instances import facts_of_instance, is_uid
from autoseg.serve.access import Gates, client_of
from autoseg.serve.deliveries import DICOMWEB, Deliveries, input_files_of
from autoseg.serve.pacs import Pacs, PacsError, PacsStudy, UnknownStudy
from autoseg.serve.problems import answers, refused
from autoseg.serve.requests import job_request
from autoseg.serve.routes.accept import check_queue, of_full_queue, queue_limits
from autoseg.serve.routes.jobs import JobId, own_job, shown
from autoseg.serve.routes.models import model_of
from autoseg.serve.service import Service
from autoseg.serve.uploads import of_fault
from autoseg.workspace.jobs.deliveries import Delivery, Form
from autoseg.workspace.jobs.receiving import ReceivedFile, Receiving
from autoseg.workspace.jobs.store import QueueFull
from autoseg.workspace.jobs.types import Job
from planners.schema.base import Frozen


class StudyList(Frozen):
    """Studies of the server; at most a hundred."""

    studies: tuple[PacsStudy, ...]


class StudyJob(Frozen):
    """A study that the service fetches and segments. `store`: the result is stored there, as `form`."""

    study: str = Field(description="StudyInstanceUID", examples=["1.2.840.113619.2.55"])
    model: str = Field(examples=["Dataset004_Hippocampus"])
    series: dict[str, str] = Field(default_factory=dict, description="channel -> SeriesInstanceUID")
    row: dict[str, str | float | None] = Field(default_factory=dict, description="columns of the clinical table")
    uncertainty: bool = True
    store: bool = False
    form: Form = "seg"


PatientId = Annotated[str, Query(alias="PatientID", max_length=64, pattern=r"^[^\x00-\x1f\x7f\\]*$")]
StudyDate = Annotated[str, Query(alias="StudyDate", pattern=r"^(\d{8}(-\d{8})?)?$", examples=["20260101-20260131"])]
Modality = Annotated[str, Query(alias="Modality", pattern=r"^[A-Z]{0,16}$", examples=["CT"])]


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1", tags=["DICOMweb"])
    gates = Gates()

    @routes.get("/dicomweb/studies", summary="Studies of the server of DICOMweb", responses=answers(404, 502))
    def studies(patient: PatientId = "", date: StudyDate = "", modality: Modality = "") -> StudyList:
        """Those that match, at most a hundred. Without a condition: any."""
        given = {"PatientID": patient, "StudyDate": date, "ModalitiesInStudy": modality}
        try:
            return StudyList(studies=_pacs(service).studies({name: value for name, value in given.items() if value}))
        except PacsError as error:
            raise of_fault(502, error) from None

    @routes.post("/dicomweb/jobs", status_code=202, summary="Take a study from the server of DICOMweb",
                 responses=answers(404, 502))
    async def create(request: Request, asked: StudyJob) -> Job:
        """The study is fetched, then the job waits in the queue as any other."""
        client = client_of(request.scope)
        await run_in_threadpool(check_queue, service, client)
        await gates.enter(client)
        try:
            return shown(service, await run_in_threadpool(_fetched, service, client, asked))
        finally:
            await gates.leave(client)

    @routes.get("/jobs/{job_id}/delivery", summary="Where the result of a job of yours is stored", responses=answers(404))
    def delivery(request: Request, job_id: JobId) -> Delivery:
        """Whether it is stored already, and why not; 404 where it is stored nowhere else."""
        own_job(service, request, job_id)
        deliveries: Deliveries | None = service.extras.get("deliveries")
        if deliveries is None or (planned := deliveries.of_job(job_id)) is None:
            raise refused(404, "the result of this job is stored nowhere else", do="fetch it from /v1/jobs/{id}/result")
        return planned

    return routes


def _pacs(service: Service) -> Pacs:
    pacs: Pacs | None = service.extras.get("pacs")
    if pacs is None:
        raise refused(404, "the service knows no server of DICOMweb", do="start it with --dicomweb URL")
    return pacs


def _fetched(service: Service, client: str, asked: StudyJob) -> Job:
    """The job of a study that is fetched; nothing is left where that fails."""
    pacs, model, limits = _pacs(service), model_of(service, asked.model), service.settings.limits
    if not is_uid(asked.study):
        raise refused(422, "this is no StudyInstanceUID", where="study", found=asked.study[:80], expected="numbers and dots")
    texts: dict[str, Any] = {"row": json.dumps(asked.row), "series": json.dumps(asked.series),
                             "uncertainty": json.dumps(asked.uncertainty)}
    job_request(client, model, "study", (), texts)  # before much is fetched for nothing
    with service.spool.receiving() as folder:
        receiving = Receiving(folder, limits.upload_bytes, limits.files)
        try:
            files = pacs.fetch(asked.study, receiving, limits.upload_bytes)
            _check_study(asked.study, files)
            request = job_request(client, model, "study", input_files_of(file.n_bytes for file in files), texts)
            deliveries: Deliveries = service.extras["deliveries"]
            receiving.arrange({file.path: f"{number}.dcm" for number, file in enumerate(files)})
            return deliveries.accept(request, secrets.token_hex(16), folder,
                                     (DICOMWEB, asked.form) if asked.store else None, queue_limits(service))
        except QueueFull as full:  # others have come meanwhile
            raise of_full_queue(full, queue_limits(service)) from None
        except UnknownStudy as error:
            raise of_fault(404, error) from None
        except PacsError as error:
            raise of_fault(502, error) from None
        except TooLarge as error:
            raise of_fault(413, error) from None
        except UserError as error:
            raise of_fault(422, error) from None


def _check_study(study: str, files: list[ReceivedFile]) -> None:
    """Raises UserError where the instances are not of this study of one patient."""
    facts = [facts_of_instance(file.path) for file in files]
    if others := {fact.study for fact in facts} - {study}:
        raise PacsError("the server sent another study than it was asked for", found=f"{len(others)} other studies")
    if len(patients := {fact.patient for fact in facts}) > 1:
        raise UserError("the study holds images of several patients", expected="one PatientID in all instances",
                        found=f"{len(patients)} of them", do="correct the study on the server")
