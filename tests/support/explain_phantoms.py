"""Networks whose reasons are known, before cases of a few voxels."""

import numpy as np
import torch
from torch import nn

from autoseg.base.runtime import Runtime
from autoseg.clinical.encoded import NO_CONDITIONS
from autoseg.datasets.case import PreparedCase
from autoseg.explain.subject import Subject, stitched_logits, subject_of
from autoseg.explain.target import Request, Target, targets_of
from autoseg.grids.geometry import Geometry
from autoseg.nn.model import build_model
from autoseg.prediction.models import FoldModel
from autoseg.prediction.prepared import NOTHING_KNOWN
from planners.schema.base import Part
from planners.schema.labels import LabelSpec
from planners.schema.plan import Plan
from tests_support import small_plan

CPU = Runtime(torch.device("cpu"), torch.float32)
LESION = LabelSpec(names={"background": (0,), "lesion": (1,)})
SLOPE = 8.0
WHOLE = Request()


class FirstChannel(nn.Module):
    """A lesion is where the first channel exceeds 0.5. Its decoder changes what it is given in place."""

    def __init__(self, options, context):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([SLOPE]))

    def encode(self, image):
        return [image * 1.0]

    def decode(self, features, every_stage):
        lesion = features[0].sub_(0.5)[:, :1] * self.scale
        return [torch.cat([torch.zeros_like(lesion), lesion], dim=1)]


def plan_with(network: str = "unet", n_channels: int = 2, dimensions: int = 3, labels: LabelSpec = LESION, **changes
              ) -> Plan:
    return small_plan(dimensions, labels=labels, n_channels=n_channels, network=Part(name=network), **changes)


def prepared_of(image_CDHW: np.ndarray, present=None) -> PreparedCase:
    shape = image_CDHW.shape[1:]
    return PreparedCase(
        name="phantom", image_CDHW=image_CDHW.astype(np.float32), geometry=Geometry(shape, (1.0, 1.0, 1.0)),
        present_C=np.ones(len(image_CDHW), bool) if present is None else np.array(present), transpose=(0, 1, 2),
        box=tuple((0, n) for n in shape), cropped_shape=shape, spacing_mm=(1.0, 1.0, 1.0))


def subject_with(plan: Plan, image_CDHW: np.ndarray, present=None, encoder=None, conditions=NOTHING_KNOWN, seed=0
                 ) -> Subject:
    """An image before a network with the weights that it starts with."""
    (configuration,) = plan.configurations.values()
    torch.manual_seed(seed)
    model = build_model(plan, configuration, NO_CONDITIONS if encoder is None else encoder.layout).eval()
    return subject_of(FoldModel(model, encoder), prepared_of(image_CDHW, present), conditions, (plan, configuration), CPU)


def logits_of_all(subject: Subject) -> torch.Tensor:
    return stitched_logits(subject, list(subject.tiling))


def targets_in(subject: Subject, request: Request = WHOLE, only=()) -> list[Target]:
    image = subject.unpadded(subject.image_CDHW).numpy()
    return targets_of(request, only, prepared_of(image), subject.labels, subject.unpadded(logits_of_all(subject)))


def two_boxes(shape=(16, 16, 16)) -> np.ndarray:
    """A large box and a small one in the first channel, a third one in the second."""
    image = np.zeros((2, *shape))
    image[0, 2:8, 2:8, 2:8] = image[0, 10:13, 10:13, 10:13] = 1
    image[1, 2:6, 9:13, 2:6] = 1
    return image
