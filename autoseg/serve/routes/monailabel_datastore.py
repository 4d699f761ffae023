"""`/datastore/` of MONAI Label: the images and labels of the dataset that takes corrections (`--collect`)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from autoseg.formats import known_ending
from autoseg.interop.collect import remove_image
from autoseg.interop.collected import CollectedCase
from autoseg.serve.access import client_of
from autoseg.serve.collecting import (
    case_of,
    cases_of,
    folder_of,
    given_image,
    given_label,
    keep_image,
    keep_label,
    named_values,
    source_of,
)
from autoseg.serve.problems import answers, refused
from autoseg.serve.requests import json_field
from autoseg.serve.routes.models import model_of
from autoseg.serve.service import Service
from autoseg.serve.uploads import Form, with_form

TAG = "final"  # of the labels in the dataset: MONAI Label keeps several per image, this service those that a person gave
Answer = dict[str, Any]
ImageId = Annotated[str, Query(description="The name of an image here, or the one that its client gave it", min_length=1)]
_FORM = {"content": {"multipart/form-data": {"schema": {"type": "object", "properties": {
    "params": {"type": "string", "description": "JSON", "example": "{}"}, "file": {"type": "string", "format": "binary"},
    "label": {"type": "string", "format": "binary"}}}}}}


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/datastore", tags=["MONAI Label"])

    _add_images(routes, service)
    _add_labels(routes, service)

    @routes.get("/", summary="Images and labels of the dataset", responses=answers(404))
    def datastore(output: Literal["stats", "all", "train"] = "stats") -> Any:
        """Counts, all objects, or the pairs of image and label by their names."""
        cases = cases_of(service)
        if output == "stats":
            return stats_of(cases)
        if output == "train":
            return [{"image": name, "label": name} for name, case in cases.items() if case.label is not None]
        return {"name": service.settings.collect, "description": "cases of corrections", "images_dir": "", "labels_dir": "",
                "objects": {name: _object(case) for name, case in cases.items()}}

    return routes


def _add_images(routes: APIRouter, service: Service) -> None:
    async def add_image(request: Request, image: Annotated[str, Query(max_length=500)] = "") -> Answer:
        """Store an image that waits for a label. The answer has its name here; the client's name leads to it, too."""
        client = client_of(request.scope)
        folder_of(service)
        return await with_form(request, service.spool.receiving(), service.settings.limits,
                               lambda form, _: _kept_image(service, client, image, form),
                               texts=("params",), files=("file",))

    for path in ("/", "/image"):
        routes.add_api_route(path, add_image, methods=["PUT"], summary="Send an image", operation_id=f"put_datastore_{path}",
                             responses=answers(404, 409, 415), openapi_extra={"requestBody": _FORM})

    def remove(id: Annotated[str, Query(min_length=1)]) -> Answer:
        """Remove an image that has no label."""
        remove_image(folder_of(service), case_of(service, id))
        return {}

    for path in ("/", "/image"):
        routes.add_api_route(path, remove, methods=["DELETE"], summary="Remove an image that waits for a label",
                             operation_id=f"delete_datastore_{path}", responses=answers(404))

    @routes.head("/image", include_in_schema=False)
    @routes.get("/image", summary="An image", response_class=FileResponse, responses=answers(404))
    def image_file(image: ImageId) -> FileResponse:
        """The file of an image; of several channels the first."""
        case = case_of(service, image)
        return _sent(case.images[min(case.images)], case.name)

    @routes.get("/image/info", summary="What is known of an image", responses=answers(404))
    def image_info(image: ImageId) -> Answer:
        """Its name here, and when it came."""
        answer: Answer = _object(case_of(service, image))["image"]["info"]
        return answer


def _add_labels(routes: APIRouter, service: Service) -> None:
    @routes.put("/label", summary="Send a corrected label", responses=answers(404, 409, 415),
                openapi_extra={"requestBody": _FORM})
    async def save_label(request: Request, image: ImageId, tag: str = TAG) -> Answer:
        """Store the label of an image of the dataset: it is a training case from then on. A former label is kept aside."""
        client = client_of(request.scope)
        if tag not in ("", TAG):
            raise refused(422, "only labels that a person has finished are kept", where="tag", found=tag[:80], expected=TAG)
        case = await run_in_threadpool(case_of, service, image)
        return await with_form(request, service.spool.receiving(), service.settings.limits,
                               lambda form, _: _kept_label(service, client, image, case, form),
                               texts=("params",), files=("label",))

    @routes.head("/label", include_in_schema=False)
    @routes.get("/label", summary="A label", response_class=FileResponse, responses=answers(404))
    def label_file(label: Annotated[str, Query()] = "", image: Annotated[str, Query()] = "", tag: str = TAG) -> FileResponse:
        """The label of an image."""
        case = _labelled(service, label or image, tag)
        assert case.label is not None  # `_labelled` has looked
        return _sent(case.label, case.name)

    @routes.get("/label/info", summary="What is known of a label", responses=answers(404))
    def label_info(label: ImageId, tag: str = TAG) -> Answer:
        """Who gave it, and when."""
        answer: Answer = _object(_labelled(service, label, tag))["labels"][TAG]["info"]
        return answer


def params_of(form: Form) -> dict[str, Any]:
    """The options of a form. Raises 422 where they are no JSON object."""
    params: dict[str, Any] = json_field(form.texts, "params", dict) if form.texts.get("params") else {}
    return params


def model_to_use(service: Service, client: str, params: Mapping[str, Any]) -> str:
    """The model that a client works with: the one it names, else the one it asked last, else the only one. Raises 409."""
    named = params.get("model")
    if isinstance(named, str) and named:
        return model_of(service, named).name
    last = service.extras.get("last_model", {}).get(client)
    names = [model.name for model in service.catalogue.served()]
    if last in names or len(names) == 1:
        return last if last in names else names[0]
    raise refused(409, "it is not known which model this image is for",
                  do='segment an image with the model first, or name it in params: {"model": "NAME"}')


def stats_of(cases: Mapping[str, CollectedCase]) -> Answer:
    """How many images there are, and how many have a label."""
    labelled = sum(case.label is not None for case in cases.values())
    return {"total": len(cases), "completed": labelled, "label_tags": {TAG: labelled} if labelled else {}, "label_names": {}}


def name_of_image(path: Path, case: str) -> str:
    """What a file of a case is called outside: without the number of its channel."""
    return f"{case}{known_ending(path.name) or ''}"


def _kept_image(service: Service, client: str, alias: str, form: Form) -> Answer:
    model = model_to_use(service, client, params_of(form))
    file = _one_file(form, "file")
    source = source_of(client, model, alias=alias or file.shown)
    return {"image": keep_image(service, model, given_image(file), source).case}


def _kept_label(service: Service, client: str, image: str, case: CollectedCase, form: Form) -> Answer:
    params = params_of(form)
    model = model_to_use(service, client, params)
    label = given_label(_one_file(form, "label"), params.get("label_info"), named_values(model_of(service, model)))
    stored = keep_label(service, case, label, source_of(client, model, comment=params.get("comment")))
    return {"image": image, "label": stored.case, "dataset": stored.dataset, "replaced": stored.replaced}


def _one_file(form: Form, field: str) -> Any:
    if len(form.files) != 1:
        raise refused(422, "the form has not one file", where=field, found=f"{len(form.files)}", expected="one")
    return form.files[0][1]


def _labelled(service: Service, name: str, tag: str) -> CollectedCase:
    case = case_of(service, name)
    if case.label is None or tag not in ("", TAG):
        raise refused(404, "the image has no such label", found=tag[:80], expected=TAG)
    return case


def _object(case: CollectedCase) -> Answer:
    """An image with its labels, as viewers list them."""
    image, labels = case.images[min(case.images)], {}
    given = {kind: [g for g in case.given if g.kind == kind] for kind in ("image", "label")}
    if case.label is not None:
        last = given["label"][-1:]
        labels[TAG] = {"ext": known_ending(case.label.name) or "", "info": {
            "name": name_of_image(case.label, case.name), "params": {},
            **{key: getattr(g, key) for g in last for key in ("who", "time", "model", "comment")}}}
    info = {"name": name_of_image(image, case.name), "time": case.given[0].time if case.given else ""}
    return {"image": {"ext": known_ending(image.name) or "", "info": info}, "labels": labels}


def _sent(path: Path, case: str) -> FileResponse:
    return FileResponse(path, media_type="application/octet-stream", filename=name_of_image(path, case))
