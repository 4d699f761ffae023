"""A service of stand-ins whose jobs are done at once: the mask is where the image is bright."""

import numpy as np

from autoseg.formats import read_image, write_label
from autoseg.serve.served import ServedChannel, ServedColumn, ServedLabel, ServedModel
from autoseg.serve.service import Service
from autoseg.serve.settings import ServeSettings
from autoseg.workspace.jobs.spool import Spool
from autoseg.workspace.jobs.store import JobStore
from autoseg.workspace.jobs.types import JobResult, LabelVolume
from planners.schema.channels import ChannelSpec
from planners.schema.conditions import ConditionSpec, ConditionTable
from planners.schema.labels import LabelSpec
from serve_support import OfferedModels
from tests_support import small_plan

LABELS = LabelSpec(names={"background": (0,), "a": (1,), "b": (2,)})
TINY = ServedModel(name="Dataset001_Tiny", title="Tiny", dataset="Dataset001_Tiny", dimensions=3, models=1,
                   channels=(ServedChannel(name="MR", number=0),), columns=(ServedColumn(name="age", kind="number"),),
                   labels=(ServedLabel(name="a", values=(1,), color="#56b4e9"),
                           ServedLabel(name="b", values=(2,), color="#e69f00")))


class PlannedModels(OfferedModels):
    """The same models, which all have one plan."""

    def plan(self, name):
        return small_plan().model_copy(update={
            "channels": tuple(ChannelSpec(name=channel.name) for channel in self.find(name).channels), "labels": LABELS,
            "conditions": ConditionTable(specs=(ConditionSpec(name="age", kind="number"),))})


class JobsDoneAtOnce(JobStore):
    def __init__(self, spool):
        super().__init__(spool.database)
        self.spool, self.asked = spool, []

    def accept(self, request, job_id, limits=None):
        super().accept(request, job_id, limits)
        self.asked.append(request)
        folder = self.spool.job(job_id)
        image_CDHW, geometry = read_image(folder.input_file(request.files[0].number, request.files[0].ending))
        label_DHW = (image_CDHW[0] > np.median(image_CDHW)).astype(np.uint8)
        write_label(folder.result / "mask.nii.gz", label_DHW, geometry)
        volumes = tuple(LabelVolume(name=label.name, values=label.values, color=label.color, volume_ml=0.5,
                                    voxels=int(np.isin(label_DHW, label.values).sum())) for label in TINY.labels)
        self.claim("worker")
        self.finish(job_id, JobResult(labels=volumes, spacing_mm=(1.0, 1.0, 1.0), shape=(4, 5, 6), files=("nifti",),
                                      images=tuple(file.channel for file in request.files), model_identity="abc"))
        return self.get(job_id)


def quick_service(folder, models=(TINY,), **settings):
    """A service whose jobs are done as soon as they are accepted."""
    chosen = ServeSettings(spool=folder / "spool", home=folder / "home", **settings)
    chosen.spool.mkdir(parents=True)
    spool = Spool(chosen.spool)
    return Service(chosen, JobsDoneAtOnce(spool), spool, PlannedModels(models))
