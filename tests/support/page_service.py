"""A service for tests of the page: the routes of the page, and jobs that are done as soon as they are asked for twice.

It stands in for the workers and keeps what it was sent, so that a test sees what the page sends.
"""

import gzip
import json
import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from autoseg.serve.routes.page import PAGES, router

AXE = PAGES.parent / "node_modules" / "axe-core" / "axe.min.js"

LABELS = [{"name": "Anterior", "values": [1], "color": "#e6194b"}, {"name": "Posterior", "values": [2], "color": "#3cb44b"}]
COLUMNS = [{"name": "age", "kind": "number", "unit": "years", "categories": [], "low": 0, "high": 120},
           {"name": "sex", "kind": "category", "unit": "", "categories": ["f", "m"], "low": None, "high": None}]


def model(name: str, title: str, channels: list[dict[str, Any]], columns: list[dict[str, Any]]) -> dict[str, Any]:
    return {"name": name, "title": title, "dataset": name, "dimensions": 3, "models": 1,
            "channels": [{**channel, "number": number} for number, channel in enumerate(channels)],
            "columns": columns, "labels": LABELS, "modality_channels": [], "uncertainty": True, "quality": True,
            "scores": {"Anterior": 0.9, "Posterior": 0.88}}


def channel(name: str, required: bool = True) -> dict[str, Any]:
    return {"name": name, "modality": "MR", "required": required, "unit": ""}


MODELS = [model("hippocampus", "Hippocampus", [channel("MRI")], []),
          model("tumour", "Brain tumour", [channel("T1"), channel("FLAIR"), channel("T2", required=False)], COLUMNS)]


def nifti(values: np.ndarray) -> bytes:
    """A gzipped NIfTI-1 file of 1 mm voxels. [uint8 or float32, x y z]"""
    header = np.zeros(348, np.uint8)
    header[:4] = np.frombuffer(np.int32(348).tobytes(), np.uint8)
    header[40:56] = np.frombuffer(np.array([3, *values.shape, 1, 1, 1, 1], "<i2").tobytes(), np.uint8)
    code, bits = (2, 8) if values.dtype == np.uint8 else (16, 32)
    header[70:74] = np.frombuffer(np.array([code, bits], "<i2").tobytes(), np.uint8)
    header[76:108] = np.frombuffer(np.array([1, 1, 1, 1, 1, 1, 1, 1], "<f4").tobytes(), np.uint8)
    header[108:116] = np.frombuffer(np.array([352, 1], "<f4").tobytes(), np.uint8)
    header[252:256] = np.frombuffer(np.array([0, 1], "<i2").tobytes(), np.uint8)
    header[280:328] = np.frombuffer(np.eye(3, 4, dtype="<f4").tobytes(), np.uint8)
    header[344:348] = np.frombuffer(b"n+1\0", np.uint8)
    return gzip.compress(header.tobytes() + bytes(4) + values.tobytes(order="F"), mtime=0)


def ball(side: int = 32) -> np.ndarray:
    """Two half balls, of labels 1 and 2. [uint8, side side side]"""
    x, y, z = np.indices((side, side, side)) - side / 2
    inside = x**2 + y**2 + z**2 < (side / 3) ** 2
    return (inside * np.where(x < 0, 1, 2)).astype(np.uint8)


def image(side: int = 32) -> bytes:
    """An image in which the halves of the ball have two intensities."""
    noise = np.random.default_rng(0).normal(0, 4, (side, side, side))
    return nifti((ball(side) * 60 + 40 + noise).clip(0, 255).astype(np.uint8))


@dataclass
class Fake:
    """What the service was sent. `states`: what a job is at each look, in turn; the last one stays."""

    token: str = ""
    collects: str = "Dataset900_Corrections"
    states: list[dict[str, Any]] = field(default_factory=list)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    looks: dict[str, int] = field(default_factory=dict)
    forms: list[dict[str, Any]] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    corrections: list[tuple[str, bytes]] = field(default_factory=list)
    models: list[dict[str, Any]] = field(default_factory=lambda: list(MODELS))


def result_of(request: dict[str, Any]) -> dict[str, Any]:
    volumes = [{**label, "voxels": 2500 + 10 * value, "volume_ml": 2.5 + value / 100} for value, label in enumerate(LABELS)]
    return {"labels": volumes, "spacing_mm": [1.0, 1.0, 1.0], "shape": [32, 32, 32],
            "files": ["nifti", "seg", "stl", "entropy"], "images": request["channels"], "present": request["channels"],
            "absent": ["T2", "sex"] if request["model"] == "tumour" else [], "predicted_dice": 0.71, "needs_review": True,
            "model_identity": "0123", "seconds": 4.2, "warnings": []}


def job_of(job_id: str, request: dict[str, Any]) -> dict[str, Any]:
    files = [{"number": n, "channel": "", "shown": shown, "n_bytes": 1000, "ending": ".nii.gz"}
             for n, shown in enumerate(request["files"])]
    return {"id": job_id, "request": {"client": "local", "model": request["model"], "kind": request["kind"], "files": files,
                                      "row": {}, "series": {}, "modality": "", "uncertainty": True},
            "state": "queued", "created": 1764500000.0, "started": None, "ended": None, "expires": None, "attempts": 0,
            "position": 2, "progress": {"stage": "waiting", "fraction": 0, "eta_seconds": None}, "problem": None,
            "question": None, "result": None}


RUNNING = {"state": "running", "position": 0, "progress": {"stage": "predicting", "fraction": 0.4, "eta_seconds": 30.0}}
DONE = {"state": "done", "progress": {"stage": "finished", "fraction": 1.0, "eta_seconds": 0.0}}
FAILED = {"state": "failed", "problem": {"what": "the image has 2 dimensions", "where": "scan.nii.gz", "found": "2",
                                         "expected": "3", "do": "send the volume, not a slice of it"}}
QUESTION = {"state": "question", "question": {"text": "Two series fit the channel MRI. Which one is it?", "channels": {
    "MRI": [
    {"uid": "1.2.3", "number": "4", "description": "T1 axial", "modality": "MR", "n_slices": 120},
    {"uid": "1.2.4", "number": "5", "description": "<img src=x onerror=alert(1)>", "modality": "MR", "n_slices": 40}]}}}


def looked_at(fake: Fake, job_id: str) -> dict[str, Any]:
    """The job at the next look."""
    job, look = fake.jobs[job_id], fake.looks.get(job_id, 0)
    fake.looks[job_id] = look + 1
    states = fake.states or [{}, RUNNING, DONE]
    shown = {**job, **states[min(look, len(states) - 1)]}
    if shown["state"] == "done":
        shown["result"] = result_of(fake.forms[int(job_id, 16)])
    fake.jobs[job_id] = {**job, **shown}
    return fake.jobs[job_id]


async def accepted(fake: Fake, request: Request) -> dict[str, Any]:
    form = await request.form()
    sent = {key: form[key] for key in form if key != "files"}
    files = [upload.filename for upload in form.getlist("files")]
    earlier = fake.forms[int(sent["inputs_of"], 16)] if "inputs_of" in sent else None
    channels = [c for c in json.loads(sent.get("channels", '["MRI"]')) if c]
    chosen = {**sent, "files": files or earlier["files"], "channels": channels,
              "kind": "images" if "channels" in sent else "study"}
    fake.forms.append(chosen)
    job_id = f"{len(fake.forms) - 1:032x}"
    fake.jobs[job_id] = job_of(job_id, chosen)
    return fake.jobs[job_id]


def app_of(fake: Fake) -> FastAPI:
    app = FastAPI()
    app.include_router(router(None))

    @app.middleware("http")
    async def guard(request: Request, call_next: Any) -> Response:
        known = request.headers.get("authorization") == f"Bearer {fake.token}"
        wrong = fake.token and request.url.path.startswith("/v1") and not known
        return JSONResponse({"error": {"what": "a token is needed"}}, 401) if wrong else await call_next(request)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"models": fake.models, "collects": fake.collects}

    @app.post("/v1/jobs", status_code=202)
    async def accept(request: Request) -> dict[str, Any]:
        return await accepted(fake, request)

    @app.get("/v1/jobs")
    async def jobs() -> dict[str, Any]:
        return {"jobs": list(fake.jobs.values())[::-1]}

    _routes_of_a_job(app, fake)
    return app


def _routes_of_a_job(app: FastAPI, fake: Fake) -> None:
    def missing() -> JSONResponse:
        return JSONResponse({"error": {"what": "there is no such job"}}, 404)

    @app.get("/v1/jobs/{job_id}")
    async def job(job_id: str) -> Any:
        return looked_at(fake, job_id) if job_id in fake.jobs else missing()

    @app.get("/v1/jobs/{job_id}/events")
    async def events(job_id: str) -> Response:
        if job_id not in fake.jobs:
            return missing()
        states = [looked_at(fake, job_id) for _ in range(len(fake.states) or 3)]
        return StreamingResponse((f"data: {json.dumps(state)}\n\n" for state in states), media_type="text/event-stream")

    @app.post("/v1/jobs/{job_id}/answer")
    async def answer(job_id: str, request: Request) -> dict[str, Any]:
        fake.answers.append((await request.json())["series"])
        fake.states = [RUNNING, DONE]
        return looked_at(fake, job_id)

    @app.post("/v1/jobs/{job_id}/cancel")
    async def cancel(job_id: str) -> dict[str, Any]:
        fake.states = [{"state": "cancelled"}]
        return looked_at(fake, job_id)

    @app.delete("/v1/jobs/{job_id}", status_code=204)
    async def remove(job_id: str) -> None:
        del fake.jobs[job_id]

    @app.get("/v1/jobs/{job_id}/images/{name}")
    async def images(job_id: str, name: str) -> Response:
        return Response(image(), media_type="application/gzip")

    @app.get("/v1/jobs/{job_id}/result/{form}")
    async def result(job_id: str, form: str) -> Response:
        values = ball() if form == "nifti" else (ball() > 0).astype(np.float32)
        return Response(nifti(values), headers={"Content-Disposition": f'attachment; filename="case_{form}.nii.gz"'})

    @app.post("/v1/jobs/{job_id}/correction", status_code=201)
    async def correction(job_id: str, request: Request, comment: str = "") -> dict[str, str]:
        fake.corrections.append((comment, await request.body()))
        return {"dataset": fake.collects, "case": "case_001"}


@contextmanager
def running(app: FastAPI):
    """The address of the service, while it runs in a thread."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        free.listen()  # so that a browser that is early waits
        port = free.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [free]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.should_exit = True
            thread.join(10)


def write_image(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(image())
    return path


def check(page, state):
    """axe-core's rules of WCAG 2 A and AA, and no scrolling to the side. The policy of the page keeps scripts out of it,
    so axe comes through the debugger.
    """
    page.evaluate(f"() => {{ {AXE.read_text(encoding='utf-8')} }}")
    found = page.evaluate("() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']})")
    told = [f"{state}: {rule['id']}: {node['html'][:120]}: {node['failureSummary'][:200]}"
            for rule in found["violations"] for node in rule["nodes"]]
    assert told == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
