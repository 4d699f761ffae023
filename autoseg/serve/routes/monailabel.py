"""The calls of MONAI Label that viewers make: what the service offers, who the client is, and what the service
does not do.

The names, fields and answers are those that the client in the package `monailabel`, and the plug-ins of 3D Slicer and OHIF
that use it, send and read (docs/decisions/0059-the-calls-of-monai-label.md).
"""

import hmac
import secrets
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter, Request

from autoseg.base.version import __version__
from autoseg.formats.files import checksum
from autoseg.interop.collected import CollectedCase
from autoseg.serve.access import client_of
from autoseg.serve.collecting import cases_of, folder_of, named_values
from autoseg.serve.problems import answers, refused
from autoseg.serve.routes.monailabel_datastore import name_of_image, stats_of
from autoseg.serve.served import ServedModel
from autoseg.serve.service import Service

STRATEGIES = {"random": "an image of the dataset that has no label yet, by chance",
              "first": "the first image of the dataset that has no label yet"}
Answer = dict[str, Any]


def router(service: Service) -> APIRouter:
    routes = APIRouter(tags=["MONAI Label"])

    @routes.get("/info/", summary="Models, labels and images, as MONAI Label lists them", responses=answers())
    def info() -> Answer:
        """The models under their names, each with its labels and the options that a request may set."""
        models = {model.name: _described(model) for model in service.catalogue.served()}
        labels = dict.fromkeys(label for model in models.values() for label in model["labels"])
        return {"name": "autoseg", "description": "segmentation by models of autoseg", "version": __version__,
                "labels": list(labels), "models": models, "trainers": {}, "train_stats": {}, "scoring": {},
                "strategies": {name: {"description": text} for name, text in STRATEGIES.items()},
                "datastore": stats_of(cases_of(service))}

    @routes.get("/auth/", summary="Whether a token is needed", responses=answers())
    def auth() -> Answer:
        """Whether one has to log in: the password is the token."""
        return {"enabled": bool(service.settings.tokens), "client_id": "", "realm": ""}

    @routes.post("/auth/token", summary="Log in", responses=answers(), openapi_extra={"requestBody": {
        "content": {"application/x-www-form-urlencoded": {"schema": {"type": "object", "properties": {
            "username": {"type": "string"}, "password": {"type": "string"}}}}}}})
    async def token(request: Request) -> Answer:
        """The password is the bearer token; the name is not looked at."""
        fields = parse_qs((await request.body()).decode("utf-8", errors="replace"))
        given = (fields.get("password") or [""])[0].encode()
        if not service.settings.tokens:
            return _login("", "")
        if not any([hmac.compare_digest(given, known.encode()) for known in service.settings.tokens]):  # all are compared
            raise refused(401, "the password is no token of this service", do="ask the person who runs the service for one")
        return _login(given.decode(), "bearer")

    @routes.get("/auth/token/valid", summary="Whether a token is valid", responses=answers())
    def valid(request: Request) -> Answer:
        """Who one is."""
        return {"username": client_of(request.scope), "email": None, "name": None, "roles": []}

    @routes.post("/activelearning/{strategy}", summary="The next image to label", responses=answers(404))
    def next_sample(strategy: str) -> Answer:
        """An image of the dataset that has no label yet; nothing where all have one."""
        if strategy not in STRATEGIES:
            raise refused(404, "there is no such strategy", found=strategy[:80], expected=", ".join(STRATEGIES))
        folder_of(service)
        waiting = [case for case in cases_of(service).values() if case.label is None]
        if not waiting:
            return {}
        return _sample(secrets.choice(waiting) if strategy == "random" else waiting[0])

    _add_what_is_not_done(routes)
    return routes


def _login(granted: str, scheme: str) -> Answer:
    """The answer to a log-in, as OAuth2 has it (RFC 6749, 5.1); of a service without tokens both are null."""
    return {"access_token": granted or None, "token_type": scheme or None}


def _described(model: ServedModel) -> Answer:
    """A model as viewers list it. Columns of its table are options, so that a viewer has a field for each."""
    options: Answer = {column.name: "" for column in model.columns}
    if model.modality_channels:
        options["modality"] = ["CT", "MR", "PET", "other"]
    return {"type": "segmentation", "labels": named_values(model), "dimension": model.dimensions, "description": model.title,
            "config": options}


def _sample(case: CollectedCase) -> Answer:
    image = case.images[min(case.images)]
    return {"id": case.name, "name": name_of_image(image, case.name), "path": "", "checksum":
            f"SHA256:{checksum(image, 'sha256')}", "url": f"/datastore/image?image={case.name}"}


def _add_what_is_not_done(routes: APIRouter) -> None:
    """What viewers ask for and this service does elsewhere, or not at all: each is answered with a sentence."""
    train = ("training is not started from a viewer", "train on the corrections with autoseg_plan_and_preprocess and "
             "autoseg_train --from (docs/how-to/slicer-and-ohif.md)")
    nothing = ("no such task was started", "")
    refusals: tuple[tuple[str, str, tuple[str, str]], ...] = (
        ("GET", "/train/", nothing), ("POST", "/train/", train), ("POST", "/train/{model}", train),
        ("DELETE", "/train/", nothing), ("GET", "/batch/infer", nothing), ("DELETE", "/batch/infer", nothing),
        ("POST", "/batch/infer/{model}", ("images are not predicted in a batch here", "use autoseg_predict")),
        ("GET", "/scoring/", nothing), ("DELETE", "/scoring/", nothing),
        ("POST", "/scoring/{method}", ("labels are not scored here", "use autoseg_evaluate")),
        ("GET", "/logs/", ("the log is not served", "look where autoseg_serve was started")),
        ("GET", "/model/{model}", ("weights are not served", "use autoseg_export_model")),
        ("GET", "/model/info/{model}", ("weights are not served", "use autoseg_export_model")),
        ("PUT", "/model/{model}", ("weights are not taken", "use autoseg_import_model")),
        ("DELETE", "/model/{model}", ("models are not removed", "remove the folder of the model")),
        ("POST", "/infer/wsi/{model}", ("whole slides are not predicted here", "use autoseg_predict")),
        ("POST", "/infer/wsi_v2/{model}", ("whole slides are not predicted here", "use autoseg_predict")),
        ("GET", "/datastore/dataset", ("the dataset is not served as one file", "copy its folder")))
    for method, path, (what, do) in refusals:
        routes.add_api_route(path, _refusal(what, do), methods=[method], include_in_schema=False)


def _refusal(what: str, do: str) -> Any:
    def refuse() -> None:
        raise refused(404, what, do=do)

    return refuse
