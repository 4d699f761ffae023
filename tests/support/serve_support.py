"""A service whose jobs and files are kept by small stand-ins, and clients that talk to it."""

import itertools
import json
import shutil
from collections import Counter
from contextlib import contextmanager

import nibabel
import numpy as np

from autoseg.base.errors import UserError
from autoseg.serve.served import ServedChannel, ServedColumn, ServedLabel, ServedModel
from autoseg.serve.service import Service
from autoseg.serve.settings import ServeSettings
from autoseg.workspace.jobs.types import Job, JobResult, LabelVolume, Progress
from autoseg.workspace.partial import partial_folder

LIVER = ServedModel(
    name="Dataset001_Liver", title="Liver", dataset="Dataset001_Liver", dimensions=3, models=1,
    channels=(ServedChannel(name="CT", number=0, modality="CT", unit="HU"),
              ServedChannel(name="PET", number=1, modality="PT", required=False, unit="SUV")),
    columns=(ServedColumn(name="age", kind="number"), ServedColumn(name="sex", kind="category", categories=("f", "m"))),
    labels=(ServedLabel(name="liver", values=(1,), color="#56b4e9"),))
BRAIN = LIVER.model_copy(update={"name": "brain", "channels": (ServedChannel(name="MR", number=0),), "columns": ()})
RESULT = JobResult(labels=(LabelVolume(name="liver", values=(1,), color="#56b4e9", voxels=8, volume_ml=0.008),),
                   spacing_mm=(1.0, 1.0, 1.0), shape=(4, 4, 4), files=("nifti", "stl"), images=("CT",))


class OfferedModels:
    """A catalogue of fixed models."""

    def __init__(self, models=(LIVER, BRAIN)):
        self.models = models

    def served(self):
        return list(self.models)

    def find(self, name):
        return next((model for model in self.models if model.name == name), None)


class RememberedJobs:
    """The jobs of a service in memory."""

    def __init__(self):
        self.by_id, self._clock = {}, itertools.count(1)

    def accept(self, request, job_id):
        self.by_id[job_id] = Job(id=job_id, request=request, state="queued", created=float(next(self._clock)))
        return self.by_id[job_id]

    def get(self, job_id):
        return self.by_id.get(job_id)

    def of_client(self, client):
        return sorted((job for job in self.by_id.values() if job.request.client == client), key=lambda job: -job.created)

    def counts(self):
        return Counter(job.state for job in self.by_id.values())

    def change(self, job_id, **changes):
        self.by_id[job_id] = self.by_id[job_id].model_copy(update=changes)
        return self.by_id[job_id]

    def finish(self, job_id, result=RESULT):
        return self.change(job_id, state="done", result=result, progress=Progress(stage="finished", fraction=1.0))

    def answer(self, job_id, series):
        if self.by_id[job_id].state != "question":
            raise UserError("the job has no question")
        request = self.by_id[job_id].request.model_copy(update={"series": dict(series)})
        return self.change(job_id, state="queued", request=request)

    def cancel(self, job_id):
        return self.change(job_id, state="cancelled")

    def remove(self, job_id):
        self.by_id.pop(job_id, None)


class FolderSpool:
    """The files of jobs in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def jobs(self):
        return sorted(path.name for path in (self.folder / "jobs").glob("*"))

    @contextmanager
    def receiving(self):
        with partial_folder(self.folder) as folder:
            yield folder

    def keep(self, job_id, received):
        inside = self.folder / "jobs" / job_id / "input"
        inside.mkdir(parents=True)
        for path, file in received:
            path.rename(inside / f"{file.number}{file.ending}")

    def share(self, job_id, other_id, files):
        shutil.copytree(self.folder / "jobs" / other_id, self.folder / "jobs" / job_id)

    def image(self, job_id, channel):
        return self.folder / "jobs" / job_id / "images" / f"{channel}.nii.gz"

    def result(self, job_id, form, label):
        names = {"nifti": "mask.nii.gz", "json": "result.json", "stl": f"{label or 'all'}.stl"}
        return self.folder / "jobs" / job_id / "result" / names.get(form, form)

    def remove(self, job_id):
        shutil.rmtree(self.folder / "jobs" / job_id, ignore_errors=True)


def service_in(folder, models=(LIVER, BRAIN), **settings):
    """A service without workers."""
    chosen = ServeSettings(spool=folder / "spool", home=folder / "home", **settings)
    return Service(chosen, RememberedJobs(), FolderSpool(chosen.spool), OfferedModels(models))


def client_to(service, **changes):
    """A client in the same process, which raises what the service does not catch."""
    from fastapi.testclient import TestClient

    from autoseg.serve.app import make_app

    return TestClient(make_app(service), base_url="http://localhost:8000", **changes)


def nifti_bytes(shape=(4, 4, 4), packed=True):
    """A small image of noise as the content of a NIfTI file."""
    import gzip

    image = nibabel.Nifti1Image(np.random.default_rng(0).normal(size=shape).astype(np.float32), np.eye(4))
    return gzip.compress(image.to_bytes()) if packed else image.to_bytes()


def ask(client, *files, model="Dataset001_Liver", headers=None, **fields):
    """POST /v1/jobs with these contents, each (name, bytes); fields that are no text as JSON."""
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()}
    return client.post("/v1/jobs", data={"model": model, **texts}, headers=headers or {},
                       files=[("files", (name, content)) for name, content in files] or [("files", (None, b""))])
