"""Small configurations and cases in memory, for the tests of this folder."""

import numpy as np
import torch
from scipy import ndimage

from autoseg.batches.augment import AUGMENTATIONS
from autoseg.batches.batch import Batch
from autoseg.datasets.case import PreparedCase
from autoseg.grids.geometry import Geometry
from planners.architectures.unet import UNet
from planners.schema.base import Part
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration, InputDropout, Schedule

LABELS = LabelSpec(names={"background": (0,), "organ": (1,), "tumour": (2,)})


def make_configuration(patch, *, batch=2, augmentation="none", options=None, channels=1, share=1 / 3, previous="",
                       normalizer="zscore", input_dropout=None) -> Configuration:
    ones = (1,) * len(patch)
    architecture = UNet(strides=(ones,), kernel_sizes=(ones,), features=(4,), blocks_encoder=(1,), convs_decoder=())
    return Configuration(spacing_mm=ones, median_shape=patch, patch=patch, batch=batch, batch_dice=False,
                         architecture=architecture, network=Part(name="unet"),
                         normalizers=(Part(name=normalizer),) * channels,
                         augmentation=Part(name=augmentation, options=options or {}), previous=previous,
                         schedule=Schedule(learning_rate=0.01, foreground_share=share),
                         mirror_axes=tuple(range(len(patch))), input_dropout=input_dropout or InputDropout())


def make_case(label_DHW, name="case", *, image_CDHW=None, labels=LABELS, present=(True,), previous_DHW=None,
              absent_CDHW=None, extra_foreground=None) -> PreparedCase:
    """A case whose image numbers its voxels from 1, so that a patch says where it was cut."""
    label = np.asarray(label_DHW, np.int16)
    if image_CDHW is None:
        image_CDHW = np.arange(1, label.size + 1, dtype=np.float32).reshape(1, *label.shape)
    foreground, lesions = {}, {}
    for class_name in labels.foreground:
        mask = np.isin(label, labels.names[class_name])
        if mask.any():
            foreground[class_name] = np.argwhere(mask)
            lesions[class_name] = ndimage.label(mask, np.ones((3, 3, 3)))[0][mask]
    foreground.update(extra_foreground or {})
    return PreparedCase(name=name, image_CDHW=image_CDHW, present_C=np.array(present),
                        geometry=Geometry(label.shape, (1.0, 1.0, 1.0)), transpose=(0, 1, 2),
                        box=tuple((0, n) for n in label.shape), cropped_shape=label.shape, spacing_mm=(1.0, 1.0, 1.0),
                        label_DHW=label, previous_DHW=previous_DHW, absent_CDHW=absent_CDHW, foreground=foreground,
                        lesions=lesions)


class Lazy:
    """An array that is read when it is sliced, and counts the voxels that were."""

    def __init__(self, array, broken=False):
        self.array, self.broken, self.read = array, broken, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, window):
        if self.broken:
            raise RuntimeError("bad chunk")
        part = self.array[window]
        self.read += part.size
        return part


def make_batch(patch, *, n_samples=2, channels=1, previous=0, seed=0) -> Batch:
    """A smooth random batch with labels 0, 1 and 2 and, on request, binary channels of an earlier prediction."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n_samples, channels + previous, *[4] * len(patch), generator=generator)
    mode = "trilinear" if len(patch) == 3 else "bilinear"
    smooth = torch.nn.functional.interpolate(coarse, patch, mode=mode)
    label = (smooth[:, 0] * 3).clamp(max=2).to(torch.int16)
    image = smooth + 0.1 * torch.randn(smooth.shape, generator=generator)
    image[:, channels:] = (smooth[:, channels:] > 0.5).float()
    return Batch(image, label, torch.ones(n_samples, channels, dtype=torch.bool))


def busy(name, p=0.5) -> dict[str, float]:
    """Options of an augmentation: what moves voxels moves them far more often than by default."""
    return {key: p for key in ("p_rotation", "p_scaling", "p_elastic") if key in dict(AUGMENTATIONS.options(name, {}))}


def seeded(seed=0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
