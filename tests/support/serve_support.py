"""A service without workers and with models that are not there, and clients that talk to it."""

import json

import nibabel
import numpy as np

from autoseg.serve.served import ServedChannel, ServedColumn, ServedLabel, ServedModel
from autoseg.serve.service import Service
from autoseg.serve.settings import ServeSettings
from autoseg.workspace.jobs.spool import Spool
from autoseg.workspace.jobs.store import JobStore
from autoseg.workspace.jobs.types import JobResult, LabelVolume

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


def service_in(folder, models=(LIVER, BRAIN), **settings):
    """A service without workers."""
    chosen = ServeSettings(spool=folder / "spool", home=folder / "home", **settings)
    spool = Spool(chosen.spool)
    return Service(chosen, JobStore(spool.database), spool, OfferedModels(models))


def finish(service, job_id, result=RESULT):
    """What a worker does with the oldest job, which is this one."""
    assert service.jobs.claim("worker").id == job_id
    service.jobs.finish(job_id, result)


def leftovers(service):
    """What lies in the spool beside jobs that were accepted."""
    folders = service.spool.jobs.glob("*") if service.spool.jobs.is_dir() else ()
    return sorted(path.name for path in folders if path.name not in service.jobs.ids())


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
