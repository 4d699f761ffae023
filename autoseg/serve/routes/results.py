"""`/v1/jobs/.../images` and `/result`: the files of a job."""

from collections.abc import Sequence
from pathlib import Path as File
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse

from autoseg.serve.problems import answers, refused
from autoseg.serve.routes.jobs import JobId, own_job
from autoseg.serve.service import Service
from autoseg.workspace.jobs.sending import blocks, opened_to_send
from autoseg.workspace.jobs.types import FINAL, Job

Form = Literal["nifti", "seg", "rtstruct", "stl", "obj", "entropy", "disagreement", "json"]
_MESHES = ("stl", "obj")
_NAMES = {"nifti": "mask.nii.gz", "seg": "seg.dcm", "rtstruct": "rtstruct.dcm", "stl": "stl.zip", "obj": "mesh.obj",
          "entropy": "entropy.nii.gz", "disagreement": "disagreement.nii.gz", "json": "result.json"}
_TYPES = {".json": "application/json", ".gz": "application/gzip", ".dcm": "application/dicom", ".stl": "model/stl",
          ".obj": "model/obj", ".zip": "application/zip"}
_FILE: dict[int | str, dict[str, Any]] = {200: {"description": "the file", "content": {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}}


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1/jobs/{job_id}", tags=["results"])

    @routes.get("/images/{channel}", summary="An image of a job", response_class=StreamingResponse,
                responses={**answers(404, 410), **_FILE})
    def image(request: Request, job_id: JobId,
              channel: Annotated[str, Path(description="name of a channel", examples=["CT"])]) -> StreamingResponse:
        """A channel as the model read it, as NIfTI (.nii.gz)."""
        job = own_job(service, request, job_id)
        if job.state == "expired":
            raise _gone(job)
        model = service.catalogue.find(job.request.model)
        known = () if model is None else tuple(known.name for known in model.channels)
        if channel not in known:
            raise refused(404, "the model of the job has no such channel", found=channel[:80], expected=", ".join(known))
        path = service.spool.job(job_id).image(known.index(channel))
        if job.state in FINAL and not path.is_file():  # what was sent is kept for a shorter time than the result
            raise _gone(job)
        return _sent(path, f"{job_id}_image")

    @routes.get("/result/{form}", summary="The result of a job", response_class=StreamingResponse,
                responses={**answers(404, 409, 410), **_FILE})
    def result(request: Request, job_id: JobId, form: Form,
               label: Annotated[str, Query(description="of stl and obj: one label alone", max_length=200)] = ""
               ) -> StreamingResponse:
        """The mask as NIfTI, DICOM-SEG, RTSTRUCT or mesh; its uncertainty; JSON with volumes and quality."""
        job = own_job(service, request, job_id)
        if job.state == "expired":
            raise _gone(job)
        if job.state != "done" or job.result is None:
            raise refused(409, "the job has no result", found=job.state, expected="done")
        if form not in (*job.result.files, "json"):
            raise refused(404, "the job has no result of this form", found=form, expected=", ".join(job.result.files))
        if label and form not in _MESHES:
            raise refused(422, "a label is asked for only of meshes", where="label", expected="stl or obj")
        known = [known.name for known in job.result.labels]
        if label and label not in known:
            raise refused(404, "the result has no such label", found=label[:80], expected=", ".join(known))
        return _sent(service.spool.job(job_id).result / result_name(form, label, known), f"{job_id}_{form}")

    return routes


def result_name(form: str, label: str, labels: Sequence[str]) -> str:
    """The name of a result in its folder; a label's mesh has the number of the label."""
    if form in _MESHES and label:
        return f"{labels.index(label)}.{form}"
    return _NAMES[form]


def _sent(path: File, name: str) -> StreamingResponse:
    """The file under a name for the client's disk. Raises 404 where there is none, such as of a mesh of an empty label."""
    opened = opened_to_send(path)
    if opened is None:
        raise refused(404, "there is no such file", do="a label without voxels has no mesh; an image comes once it is read")
    file, n_bytes = opened
    ending = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    return StreamingResponse(blocks(file), media_type=_TYPES.get(path.suffix, "application/octet-stream"),
                             headers={"Content-Length": str(n_bytes),
                                      "Content-Disposition": f'attachment; filename="{name}{ending}"'})


def _gone(job: Job) -> Exception:
    return refused(410, "the files of this job are removed", found=job.state, do="ask for the segmentation again")
