"""Errors as a client gets them: a `Problem` with the right status. No path of the server stands in it."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from autoseg.base.errors import AutosegError, CannotWrite, visible
from autoseg.workspace.jobs.types import Job, Problem
from planners.schema.base import Frozen

_MOST_CHARACTERS = 2000  # of one field of a problem
_PATH = re.compile(r"(?<![\w:/.])(?:[A-Za-z]:)?[/\\](?:[^\s:;,()'\"/\\]+[/\\])+([^\s:;,()'\"/\\]*)")

_IN_A_JOB = re.compile(r"(?:jobs/)?[0-9a-f]{32}/(?:input|images|result)/?")  # of the spool


class ErrorAnswer(Frozen):
    """The body of every answer that is no success."""

    error: Problem


_AS_FOR_422 = {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{ErrorAnswer.__name__}"}}}}
_WORDS = {400: "the request cannot be read", 401: "no token, or one that is not known",
          403: "another site sent it, or the service does not allow it",
          404: "there is none, it is somebody else's, or the service does not do this",
          408: "the upload is too slow", 409: "the job is in another state, or a training",
          410: "the files of the job are removed",
          413: "it is too large", 415: "a file is no image", 422: "what the request says is wrong",
          429: "too many requests or jobs", 500: "a fault of the service",
          502: "another server does not answer as it should", 507: "the disk of the service is full"}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The problems that a route can answer with, for its description; 400, 401, 403, 413, 422 and 429 are those of all.

    That of 422 brings the schema of the body, and the others refer to it: FastAPI builds a validator for each model that a
    route names, which would be most of the time that an application takes to be made.
    """
    return {status: {"description": _WORDS[status], **({"model": ErrorAnswer} if status == 422 else _AS_FOR_422)}
            for status in sorted({400, 401, 403, 413, 422, 429, *statuses})}


def refused(status: int, what: str, *, where: str = "", found: object = "", expected: object = "", do: str = "",
            headers: Mapping[str, str] | None = None) -> HTTPException:
    """What a route raises to end a request with a problem. The texts are ours: paths in them are not looked for."""
    return HTTPException(status, problem_of(what, where, found, expected, do), dict(headers or {}))


def problem_of(what: str, where: str = "", found: object = "", expected: object = "", do: str = "") -> Problem:
    """A problem of which nothing steers a terminal and no text is endless."""
    return Problem(**{name: visible(str(text))[:_MOST_CHARACTERS] for name, text in
                      (("what", what), ("where", where), ("found", found), ("expected", expected), ("do", do))})


def without_paths(text: str, roots: Sequence[str] = ()) -> str:
    """A text in which of each path of this machine the last name is left. `roots`: folders that are removed in any case.

    >>> without_paths("/srv/spool/jobs/ab/input/0.nii.gz: it is cut short (found: /a/b)")
    '0.nii.gz: it is cut short (found: b)'
    >>> without_paths("/srv/spool/jobs/0123456789abcdef0123456789abcdef/input/series 4: it is no volume", ["/srv/spool"])
    'series 4: it is no volume'
    """
    for root in sorted(filter(None, roots), key=len, reverse=True):
        text = text.replace(f"{root}/", "").replace(root, "the service")
    text = _IN_A_JOB.sub("", text)
    return _PATH.sub(lambda match: match[1] or "a folder", text)


def shown_job(job: Job, roots: Sequence[str] = ()) -> Job:
    """A job as its client sees it: its problem and its warnings name no folder of the service."""
    changes: dict[str, Any] = {}
    if job.problem is not None:
        changes["problem"] = Problem(**{name: without_paths(text, roots) for name, text in job.problem.model_dump().items()})
    if job.result is not None and job.result.warnings:
        warnings = tuple(without_paths(warning, roots) for warning in job.result.warnings)
        changes["result"] = job.result.model_copy(update={"warnings": warnings})
    return job.model_copy(update=changes)


def as_response(status: int, problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": problem.model_dump()}, status, dict(headers or {}))


def of_http(_: Request, error: Any) -> JSONResponse:
    """What a route, or the framework, refuses."""
    problem = error.detail if isinstance(error.detail, Problem) else problem_of(str(error.detail).lower())
    return as_response(error.status_code, problem, error.headers)


def of_validation(_: Request, error: RequestValidationError) -> JSONResponse:
    """What the declared types of a route refuse, in words."""
    complaints = [f"{'.'.join(str(part) for part in complaint['loc'])}: {complaint['msg']}" for complaint in error.errors()]
    return as_response(422, problem_of("the request is not as this route takes it", found="; ".join(complaints)))


def of_user(roots: Sequence[str]) -> Any:
    """The handler of users' errors that a route lets through."""
    def handle(_: Request, error: AutosegError) -> JSONResponse:
        return as_response(507 if isinstance(error, CannotWrite) else 422, problem_of(without_paths(str(error), roots)))

    return handle
