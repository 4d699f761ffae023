"""`/v1/models`: what can be asked for."""

from typing import Annotated

from fastapi import APIRouter, Path

from autoseg.serve.problems import answers, refused
from autoseg.serve.served import ServedModel
from autoseg.serve.service import Service
from planners.schema.base import Frozen


class ModelList(Frozen):
    """All models that the service offers. `collects`: the raw dataset that takes corrections; empty: none are taken.
    `pacs`: whether studies can be taken from a server of DICOMweb.
    """

    models: tuple[ServedModel, ...]
    collects: str = ""
    pacs: bool = False


def router(service: Service) -> APIRouter:
    routes = APIRouter(prefix="/v1/models", tags=["models"])

    @routes.get("", summary="The models that the service offers", responses=answers())
    def models() -> ModelList:
        """Each with the images and columns of a table that it takes, and the labels that it gives."""
        return ModelList(models=tuple(service.catalogue.served()), collects=service.settings.collect,
                         pacs=bool(service.settings.dicomweb))

    @routes.get("/{name}", summary="One of the models", responses=answers(404))
    def model(name: Annotated[str, Path(examples=["Dataset004_Hippocampus"])]) -> ServedModel:
        """What it takes and gives."""
        return model_of(service, name)

    return routes


def model_of(service: Service, name: str) -> ServedModel:
    """The model of a name. Raises 404 where there is none."""
    served: ServedModel | None = service.catalogue.find(name)
    if served is None:
        raise refused(404, "there is no such model", found=name[:80], do="ask /v1/models for those that there are")
    return served
