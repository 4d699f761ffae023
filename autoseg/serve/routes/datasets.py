"""`/v1/datasets`: the datasets of the workspace, their fingerprints and reports."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Response
from fastapi.responses import StreamingResponse

from autoseg.serve.problems import answers, refused
from autoseg.serve.routes.trainings import known_dataset, launcher_of, may_train
from autoseg.serve.service import Service
from autoseg.serve.training.launch import Busy
from autoseg.serve.training.overview import details, shown_dataset
from autoseg.serve.training.types import DatasetDetails, DatasetList, ReportLink, ShownDataset
from autoseg.serve.uploads import of_fault
from autoseg.workspace.jobs.sending import blocks, opened_to_send

Name = Annotated[str, Path(description="The name of a dataset, or its number", examples=["Dataset004_Hippocampus"],
                           max_length=200)]
_HTML: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}},
                                              "description": "the report"}}

# A report holds pictures and styles of its own and no script. It is shown apart from the page: its origin is nobody's.
_REPORT_POLICY = "; ".join((
    "sandbox allow-popups", "default-src 'none'", "style-src 'unsafe-inline'", "img-src data:", "font-src data:",
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'self'"))


def router(service: Service) -> APIRouter:
    routes = APIRouter(tags=["training"])

    @routes.get("/v1/datasets", summary="The datasets of the workspace", responses=answers())
    def datasets() -> DatasetList:
        """Each with its models and the state of their folds."""
        numbered = launcher_of(service).workspace.numbered()
        return DatasetList(datasets=tuple(_shown(service, name) for _, name in sorted(numbered.items())),
                           can_train=may_train(service))

    @routes.get("/v1/datasets/{name}", summary="A dataset and its fingerprint", responses=answers(404))
    def dataset(name: Name) -> DatasetDetails:
        """Sizes and intensities over all cases, in quartiles; no case is named."""
        return details(launcher_of(service).workspace, _shown(service, known_dataset(service, name)))

    @routes.post("/v1/datasets/{name}/report", status_code=202, summary="Make the report of a dataset",
                 responses=answers(404, 409))
    def make(name: Name) -> ShownDataset:
        """It is written by a process of its own; the dataset says when it is made."""
        known = known_dataset(service, name)
        try:
            launcher_of(service).make_report(known)
        except Busy as error:
            raise of_fault(409, error) from None
        return _shown(service, known)

    @routes.get("/v1/datasets/{name}/report", summary="The report of a dataset", response_class=StreamingResponse,
                responses={**answers(404), **_HTML})
    def report(name: Name) -> Response:
        """One HTML file that needs no network and runs no script."""
        return _sent(service, known_dataset(service, name))

    @routes.post("/v1/datasets/{name}/report/link", summary="An address of the report for a frame", responses=answers(404))
    def link(name: Name) -> ReportLink:
        """It shows the report once, within a minute, without a token."""
        return ReportLink(path=f"v1/reports/{launcher_of(service).ticket(known_dataset(service, name))}")

    @routes.get("/v1/reports/{ticket}", summary="The report under its address", response_class=StreamingResponse,
                responses={**answers(404), **_HTML})
    def linked(ticket: Annotated[str, Path(max_length=64, examples=["0f" * 16])]) -> Response:
        """Of an address that was not used yet."""
        known = launcher_of(service).redeemed(ticket)
        if known is None:
            raise refused(404, "this address of a report is used, or too old", do="ask for another one")
        return _sent(service, known)

    return routes


def _shown(service: Service, name: str) -> ShownDataset:
    launcher = launcher_of(service)
    number = int(name.removeprefix("Dataset").partition("_")[0])
    state, made = launcher.report_state(name)
    shown = shown_dataset(launcher.workspace, number, name, launcher.launch)
    return shown.model_copy(update={"report": state, "report_made": made})


def _sent(service: Service, dataset: str) -> Response:
    opened = opened_to_send(launcher_of(service).workspace.report(dataset))
    if opened is None:
        raise refused(404, "there is no report of this dataset", where=dataset, do="make it")
    file, n_bytes = opened
    return StreamingResponse(blocks(file), media_type="text/html; charset=utf-8", headers={
        "Content-Length": str(n_bytes), "Content-Security-Policy": _REPORT_POLICY, "Cache-Control": "no-store"})
