"""`/infer/` and `/session/` of MONAI Label: a segmentation in one request. It waits in the queue like every other job."""

import asyncio
import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from autoseg.formats import read_label, write_label
from autoseg.formats.dicom.instances import is_uid
from autoseg.formats.sitk import write_uncompressed
from autoseg.serve.access import Gates, client_of
from autoseg.serve.collecting import case_of, named_values, only_channel
from autoseg.serve.pacs import Pacs, PacsError, UnknownStudy
from autoseg.serve.problems import answers, refused, without_paths
from autoseg.serve.routes.accept import accepted, check_queue
from autoseg.serve.routes.jobs import shown
from autoseg.serve.routes.models import model_of
from autoseg.serve.routes.monailabel_datastore import params_of
from autoseg.serve.served import ServedModel
from autoseg.serve.service import Service
from autoseg.serve.uploads import Form, of_fault, with_form
from autoseg.workspace.jobs.receiving import ReceivedFile, Receiving
from autoseg.workspace.jobs.sending import blocks, opened_to_send
from autoseg.workspace.jobs.sessions import Session, Sessions, copy_file
from autoseg.workspace.jobs.types import FINAL, Job, JobResult, Problem

_ENDINGS = (".nrrd", ".nii.gz", ".nii")
_POLL_SECONDS = 0.1
_MOST_SESSION_SECONDS = 3600
_MOST_SESSIONS = 20  # of a client
_MOST_CLIENTS = 1000  # whose last model is remembered
_UPLOAD = {"content": {"multipart/form-data": {"schema": {"type": "object", "properties": {
    "params": {"type": "string", "description": "JSON: result_extension, columns of the model's table, modality",
               "example": '{"result_extension": ".nrrd"}'}, "file": {"type": "string", "format": "binary"}}}}}}
Answer = dict[str, Any]
Output = Literal["all", "image", "json", "dicom_seg"]


def router(service: Service) -> APIRouter:
    routes = APIRouter(tags=["MONAI Label"])
    sessions, gates = Sessions(service.settings.spool), Gates()

    @routes.post("/infer/{model}", summary="Segment an image and wait for it", responses=answers(404, 409, 410, 415, 502),
                 openapi_extra={"requestBody": _UPLOAD})
    async def infer(request: Request, model: str, image: str = "", session_id: str = "",
                    output: Output = "all") -> Response:
        """The image is the file that comes along, that of a session, or one of the dataset. The answer is multipart,
        `params` and the mask (`output=all`), or one of both.
        """
        client = client_of(request.scope)
        served = await run_in_threadpool(model_of, service, model)
        await run_in_threadpool(check_queue, service, client)
        await gates.enter(client)
        try:
            job, params = await _asked(service, sessions, request, (client, served), (image, session_id))
        finally:
            await gates.leave(client)
        try:
            done = await _ended(service, request, job)
            _remember(service, client, model)
            return await run_in_threadpool(_answer, service, done, params, output)
        finally:
            await run_in_threadpool(_forget, service, job)

    @routes.put("/session/", summary="Send images once, for several requests", responses=answers(415),
                openapi_extra={"requestBody": {"content": {"multipart/form-data": {"schema": {
                    "type": "object", "properties": {"files": {"type": "array", "items": {
                        "type": "string", "format": "binary"}}}}}}}})
    async def create_session(request: Request, expiry: Annotated[int, Query(ge=0)] = 0) -> Answer:
        """The images are kept for an hour, or for `expiry` seconds, if these are less."""
        client = client_of(request.scope)
        if len(await run_in_threadpool(sessions.of_client, client)) >= _MOST_SESSIONS:
            raise refused(429, "there are too many sessions", expected=f"at most {_MOST_SESSIONS}", do="remove some")
        await gates.enter(client)
        try:
            session = await _received_session(service, sessions, request, client, expiry)
        finally:
            await gates.leave(client)
        return {"session_id": session.id, "session_info": _info(session)}

    @routes.get("/session/{session_id}", summary="A session of yours", responses=answers(404))
    def get_session(request: Request, session_id: str) -> Answer:
        """When it was made and when it ends."""
        return _info(_session(sessions, session_id, client_of(request.scope)))

    @routes.delete("/session/{session_id}", summary="Remove a session", responses=answers(404))
    def remove_session(request: Request, session_id: str) -> Answer:
        """Its images are removed at once."""
        session = _session(sessions, session_id, client_of(request.scope))
        sessions.remove(session.id)
        return _info(session)

    return routes


async def _asked(service: Service, sessions: Sessions, request: Request, who: tuple[str, ServedModel], where: tuple[str, str]
                 ) -> tuple[Job, Answer]:
    """The job of a request, and its options; nothing of it is left where it is refused, or breaks off."""
    client, model = who

    def job_of_form(form: Form, receiving: Receiving) -> tuple[Job, Answer]:
        params = params_of(form)
        _ending(params)
        files = [file for _, file in form.files] or _files_of(service, sessions, receiving, client, where)
        texts = _texts(model, params, len(files))
        return accepted(service, client, Form(texts, [("files", file) for file in files]), receiving), params

    return await with_form(request, service.spool.receiving(), service.settings.limits, job_of_form,
                           texts=("params",), files=("file",))


def _files_of(service: Service, sessions: Sessions, receiving: Receiving, client: str, where: tuple[str, str]
              ) -> list[ReceivedFile]:
    """The files that a request without files is about."""
    image, session_id = where
    if session_id:
        return sessions.copy_into(receiving, _session(sessions, session_id, client))
    if not image:
        raise refused(422, "the request has no image", expected="a file, a session, or the name of an image of the dataset")
    if is_uid(image):
        return _series(service, receiving, image)
    if not service.settings.collect:
        raise refused(404, "this service has no image of this name", where="image",
                      do="send an image along as `file`, or make a session of it")
    case = case_of(service, image)
    names = [f"image_{number:04d}.nii.gz" for number in sorted(case.images)]
    return [copy_file(receiving, case.images[number], name) for number, name in zip(sorted(case.images), names, strict=True)]


def _series(service: Service, receiving: Receiving, series: str) -> list[ReceivedFile]:
    """The files of a series of the DICOMweb server, as OHIF names them."""
    pacs: Pacs | None = service.extras.get("pacs")
    if pacs is None:
        raise refused(404, "this service has no series of this name", where="image",
                      do="start it with --dicomweb URL, the server that the viewer reads from, or send the files along")
    try:
        return pacs.fetch(pacs.study_of(series), receiving, service.settings.limits.upload_bytes, series)
    except UnknownStudy as error:
        raise of_fault(404, error) from None
    except PacsError as error:
        raise of_fault(502, error) from None


def _texts(model: ServedModel, params: Mapping[str, Any], n_files: int) -> dict[str, str]:
    """The fields of a job that the options of a viewer stand for. A single image is the channel that the model needs."""
    row = {column.name: params[column.name] for column in model.columns if params.get(column.name) not in (None, "")}
    texts = {"model": model.name, "uncertainty": "false"}
    if row:
        texts["row"] = json.dumps(row)
    if isinstance(params.get("modality"), str) and model.modality_channels:
        texts["modality"] = params["modality"]
    if n_files == 1 and len(model.channels) > 1 and "channel" in params:
        texts["channels"] = json.dumps([params["channel"]])
    elif n_files == 1 and len(model.channels) > 1:
        texts["channels"] = json.dumps([only_channel(model)])
    return texts


async def _ended(service: Service, request: Request, job: Job) -> Job:
    """The job when it is done. Raises what is answered where it is not done in the end, or the client went away."""
    current: Job | None = job
    while current is not None and current.state not in FINAL and current.state != "question":
        if await request.is_disconnected():
            raise ClientDisconnect
        await asyncio.sleep(_POLL_SECONDS)
        current = await run_in_threadpool(service.jobs.get, job.id)
    if current is None:
        raise refused(410, "the job was removed")
    if current.state == "question":
        raise refused(422, "several series of the study fit the model", do="send one series, or use the page of the service")
    if current.state != "done" or current.result is None:
        problem = shown(service, current).problem or Problem(what=f"the job was {current.state}")
        raise refused(422, problem.what, where=problem.where, found=problem.found, expected=problem.expected, do=problem.do)
    return current


def _answer(service: Service, job: Job, params: Mapping[str, Any], output: Output) -> Response:
    assert job.result is not None  # it is done
    facts = _facts_of(job, job.result, service)
    if output == "json":
        return JSONResponse(facts)
    if output == "dicom_seg":
        if "seg" not in job.result.files:
            raise refused(422, "only a series of DICOM has a segmentation in DICOM", where="output",
                          do="send the DICOM files of the series, or ask for output=image")
        segmentation = service.spool.job(job.id).result_file("seg")
        return _sent([], segmentation, [], "application/dicom", "segmentation.dcm")
    ending, result = _ending(params), service.spool.job(job.id).result_file("nifti")
    with ExitStack() as stack:
        path = result if ending == ".nii.gz" else _converted(stack.enter_context(service.spool.receiving()), result, ending,
                                                             compressed=params.get("result_compress", True) is not False)
        if output == "image":
            return _sent([], path, [], "application/octet-stream", f"label{ending}")
        mark = f"autoseg-{secrets.token_hex(16)}"
        head = (f'--{mark}\r\nContent-Disposition: form-data; name="params"\r\nContent-Type: application/json\r\n\r\n'
                f'{json.dumps(facts)}\r\n--{mark}\r\n'
                f'Content-Disposition: form-data; name="image"; filename="label{ending}"\r\n'
                "Content-Type: application/octet-stream\r\n\r\n").encode()
        return _sent([head], path, [f"\r\n--{mark}--\r\n".encode()], f"multipart/form-data; boundary={mark}", "")


def _sent(before: list[bytes], path: Path, after: list[bytes], media_type: str, name: str) -> Response:
    """A file between other bytes. Its header has the length: clients of MONAI Label do not read an answer in chunks."""
    opened = opened_to_send(path)
    if opened is None:
        raise refused(410, "the result is removed")
    file, size = opened

    def content() -> Iterator[bytes]:
        yield from before
        yield from blocks(file)
        yield from after

    headers = {"content-length": str(size + sum(map(len, [*before, *after])))}
    if name:
        headers["content-disposition"] = f'attachment; filename="{name}"'
    return StreamingResponse(content(), media_type=media_type, headers=headers)


def _converted(folder: Path, result: Path, ending: str, *, compressed: bool) -> Path:
    """The mask in another format."""
    label_DHW, geometry = read_label(result)
    path = folder / f"label{ending}"
    if ending == ".nrrd" and not compressed:
        write_uncompressed(path, label_DHW.astype("uint8" if label_DHW.max() <= 255 else "uint16"), geometry)
    else:
        write_label(path, label_DHW, geometry)
    return path


def _facts_of(job: Job, result: JobResult, service: Service) -> Answer:
    """The `params` beside a mask. `label_names` are the labels that the mask holds: viewers name segments by them."""
    names = named_values(model_of(service, job.request.model))
    held = {value for label in result.labels if label.voxels for value in label.values}
    return {"label_names": {name: value for name, value in names.items() if value in held}, "model": job.request.model,
            "volumes_ml": {label.name: label.volume_ml for label in result.labels},
            "predicted_dice": result.predicted_dice, "needs_review": result.needs_review,
            "present": list(result.present), "absent": list(result.absent),
            "warnings": [without_paths(warning) for warning in result.warnings]}


def _ending(params: Mapping[str, Any]) -> str:
    """The ending of the mask that a client asks for. Raises 422 for one that is not known."""
    ending = params.get("result_extension") or ".nii.gz"
    if ending not in _ENDINGS:
        raise refused(422, "the format of the result is not known", where="result_extension", found=str(ending)[:80],
                      expected=", ".join(_ENDINGS))
    return str(ending)


def _remember(service: Service, client: str, model: str) -> None:
    """Which model a client asked last: for images and labels that it sends without naming one."""
    last: dict[str, str] = service.extras.setdefault("last_model", {})
    last.pop(client, None)
    last[client] = model
    if len(last) > _MOST_CLIENTS:
        del last[next(iter(last))]


def _forget(service: Service, job: Job) -> None:
    """The answer has everything: nothing of the job stays."""
    service.jobs.remove(job.id)
    service.spool.remove(job.id)


async def _received_session(service: Service, sessions: Sessions, request: Request, client: str, expiry: int) -> Session:
    def session_of_form(form: Form, receiving: Receiving) -> Session:
        if not form.files:
            raise refused(422, "the request has no file", where="files")
        seconds = min(expiry or _MOST_SESSION_SECONDS, _MOST_SESSION_SECONDS)
        return sessions.add(receiving.folder, [file for _, file in form.files], client, float(seconds))

    return await with_form(request, sessions.receiving(), service.settings.limits, session_of_form,
                           texts=("client_id", "params"), files=("files",))


def _session(sessions: Sessions, session_id: str, client: str) -> Session:
    session = sessions.get(session_id, client)
    if session is None:
        raise refused(404, "there is no such session", found=session_id[:80], do="make a new one")
    return session


def _info(session: Session) -> Answer:
    """A session as viewers read it. It names no path."""
    return {"name": session.id, "path": "", "image": session.files[0].shown, "meta": {}, "create_ts": int(session.created),
            "last_access_ts": int(session.created), "expiry": int(session.expires - session.created)}
