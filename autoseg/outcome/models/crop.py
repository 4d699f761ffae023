"""A small residual network (He et al. 2016) that sees the image around the lesion. B counts cases, C channels, O outputs."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import nn

from autoseg.outcome.fitted import Blocks, Columns, FittedHeader, joined
from autoseg.outcome.models import KINDS, OUTCOME_MODELS, ModelContext
from autoseg.outcome.models.network import NetworkModel, Training
from autoseg.outcome.scale import Scale, fit_scale
from planners.schema.base import Frozen

_BATCH = 32


class CropOptions(Frozen):
    """`widths` of the stages, each at half the resolution (multiples of 4); `epochs` are tried, the most cautious first."""

    widths: tuple[int, ...] = (16, 32, 64)
    epochs: tuple[int, ...] = (5, 10, 20)
    dropout: float = 0.3
    rate: float = 1e-3
    decay: float = 1e-2


class ResidualBlock(nn.Module):
    """Two convolutions beside a shortcut, at half the resolution."""

    def __init__(self, n_in: int, n_out: int):
        super().__init__()
        groups = n_out // 4
        self.body = nn.Sequential(nn.Conv3d(n_in, n_out, 3, stride=2, padding=1, bias=False), nn.GroupNorm(groups, n_out),
                                  nn.ReLU(), nn.Conv3d(n_out, n_out, 3, padding=1, bias=False), nn.GroupNorm(groups, n_out))
        self.shortcut = nn.Conv3d(n_in, n_out, 1, stride=2, bias=False)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x_BCDHW) + self.shortcut(x_BCDHW))


class CropNetwork(nn.Module):
    """Residual stages, the mean over voxels, and one layer: (B, C, z, y, x) -> (B, O). The axis z may have length 1."""

    def __init__(self, n_channels: int, n_outputs: int, options: CropOptions):
        super().__init__()
        widths = (n_channels, *options.widths)
        self.stages = nn.Sequential(*(ResidualBlock(a, b) for a, b in pairwise(widths)))
        self.dropout = nn.Dropout(options.dropout)
        self.output = nn.Linear(widths[-1], n_outputs)

    def forward(self, x_BCDHW: torch.Tensor) -> torch.Tensor:
        return self.output(self.dropout(self.stages(x_BCDHW).mean(dim=(2, 3, 4))))


@OUTCOME_MODELS.register("resnet_crop", CropOptions, blocks=("crop",), kinds=KINDS, baseline=True)
def resnet_crop(options: CropOptions, context: ModelContext) -> NetworkModel:
    """A classifier of the crop; one inner fold says when to stop, since each training takes long."""
    def build(header: FittedHeader) -> CropNetwork:
        return CropNetwork(header.details["channels"], header.details["outputs"], options)

    training = Training(options.epochs, options.rate, options.decay, context.device, augment=_mirrored, batch=_BATCH)
    return NetworkModel(options, ("crop",), _fit_inputs, _inputs, build, training, n_used=1)


def _fit_inputs(blocks: Blocks, columns: Sequence[Columns]) -> dict[str, np.ndarray]:
    """Mean and deviation of each channel over the known voxels of all cases."""
    voxels_VC = _channels_last(joined(blocks, columns), columns[0].shape).reshape(-1, columns[0].shape[0])
    scales = [fit_scale(channel[~np.isnan(channel)][:, None]) for channel in voxels_VC.T]
    return {"mean_C": np.concatenate([scale.mean_F for scale in scales]),
            "scale_C": np.concatenate([scale.scale_F for scale in scales])}


def _inputs(blocks: Blocks, header: FittedHeader, fitted: Mapping[str, np.ndarray]) -> torch.Tensor:
    """Standardised channels; what is missing is at the mean."""
    image_NDHWC = _channels_last(joined(blocks, header.columns), header.columns[0].shape)
    standard_NDHWC = np.nan_to_num(Scale(fitted["mean_C"], fitted["scale_C"])(image_NDHWC))
    return torch.from_numpy(standard_NDHWC).float().movedim(-1, 1).contiguous()


def _channels_last(values_NF: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    return np.moveaxis(values_NF.reshape(len(values_NF), *shape), 1, -1)


def _mirrored(image_BCDHW: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Each case is mirrored along each axis by a coin."""
    for axis in (2, 3, 4):
        coin_B = torch.rand(len(image_BCDHW), generator=generator) < 0.5
        image_BCDHW = torch.where(coin_B[:, None, None, None, None], image_BCDHW.flip(axis), image_BCDHW)
    return image_BCDHW
