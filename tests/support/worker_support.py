"""A spool, a workspace with models that have learned nothing, and the worker that does the jobs of both."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from autoseg.formats import write_array
from autoseg.nn.model import build_model
from autoseg.serve.settings import WorkerSettings
from autoseg.serve.worker import Worker
from autoseg.workspace.checkpoint import save_weights
from autoseg.workspace.files import write_json
from autoseg.workspace.jobs.spool import Spool
from autoseg.workspace.jobs.store import JobStore
from autoseg.workspace.jobs.types import InputFile, Job, JobRequest
from autoseg.workspace.names import Workspace
from planners.schema.channels import ChannelSpec
from tests_support import small_plan

NAME = "Dataset001_Spheres"
CHANNELS = (ChannelSpec(name="MR_0"),)


def write_model(home: Path, *, seed: int = 0, channels=CHANNELS, **changes):
    """A model of one fold that has learned nothing, as a training leaves it."""
    plan = small_plan(mirror_axes=(), n_channels=len(channels), **changes).model_copy(update={"channels": channels})
    model = Workspace.open(home).model(NAME, "budgeted", "3d_fullres")
    write_json(model.plan, plan)
    torch.manual_seed(seed)
    weights = build_model(plan, plan.configurations["3d_fullres"]).state_dict()
    save_weights(model.fold(0).checkpoint, weights, {})
    write_json(model.fold(0).result, {"mean_dice": 0.5})
    return model


@dataclass(frozen=True)
class Bench:
    """A spool and a workspace without a service."""

    root: Path

    @property
    def spool(self) -> Spool:
        return Spool(self.root / "spool")

    @property
    def jobs(self) -> JobStore:
        return JobStore(self.spool.database)

    @property
    def home(self) -> Path:
        return self.root / "home"

    def worker(self, **changes) -> Worker:
        settings = {"name": "worker-0", "spool": self.spool.root, "home": self.home, "device": "cpu", "job_seconds": 600.0,
                    "result_seconds": 3600.0, "attempts": 2}
        return Worker(WorkerSettings(**{**settings, **changes}))

    def ask(self, *images, channels=("MR_0",), **changes) -> str:
        """The id of a job with these images, each (array, geometry) or a path."""
        with self.spool.receiving() as folder:
            files = []
            for number, (image, channel) in enumerate(zip(images, channels, strict=True)):
                path = folder / f"{number}.nii.gz"
                if isinstance(image, Path):
                    shutil.copyfile(image, path)
                else:
                    write_array(path, image[0], image[1])
                files.append(InputFile(number=number, channel=channel, n_bytes=path.stat().st_size, ending=".nii.gz"))
            job_id = self.spool.keep(folder)
        return self._queued(job_id, files, kind="images", **changes)

    def ask_study(self, *folders: Path, **changes) -> str:
        """The id of a job with all files of these folders."""
        with self.spool.receiving() as folder:
            paths = [path for study in folders for path in sorted(study.rglob("*")) if path.is_file()]
            for number, path in enumerate(paths):
                shutil.copyfile(path, folder / f"{number}.dcm")
            job_id = self.spool.keep(folder)
        files = [InputFile(number=number, n_bytes=1, ending=".dcm") for number in range(len(paths))]
        return self._queued(job_id, files, kind="study", **changes)

    def _queued(self, job_id, files, **changes) -> str:
        self.jobs.accept(JobRequest(**{"client": "anna", "model": NAME, "files": tuple(files), **changes}), job_id)
        return job_id

    def done(self, job_id: str, worker: Worker | None = None) -> Job:
        """The job after a worker has had it."""
        claimed = self.jobs.claim("worker-0")
        assert claimed.id == job_id
        (worker or self.worker()).do(claimed)
        return self.jobs.get(job_id)
