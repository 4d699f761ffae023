"""Input gradients of noisy copies (SmoothGrad, Smilkov et al. 2017): how a target answers to each voxel and channel."""

import torch

from autoseg.explain.subject import Subject, batches, logits_of, stitched
from autoseg.explain.target import Target, padded_mask, pull_of

_NOISE = 0.1  # standard deviation, as a share of a channel's range (the paper: 10 to 20 %)
_RANGE = (0.01, 0.99)  # quantiles: a spike would make all of the noise
_MOST_SAMPLED = 2**20  # voxels from which quantiles are taken; torch refuses more than 2^24


def smooth_grad(subject: Subject, target: Target, *, samples: int, seed: int) -> torch.Tensor:
    """|mean gradient| (C, D, H, W; padded) of the target's log-odds over `samples` copies of the image with Gaussian noise;
    0 in channels that the case lacks.
    """
    pull_KDHW = pull_of(subject, target)
    generator = torch.Generator().manual_seed(seed)
    spread_C = _spread(subject)
    total = torch.zeros_like(subject.image_CDHW)
    for _ in range(samples):
        noise = torch.randn(subject.image_CDHW.shape, generator=generator) * spread_C[:, None, None, None]
        total += _gradient(subject.with_image(subject.image_CDHW + noise), target, pull_KDHW)
    return (total / samples).abs()


def _gradient(subject: Subject, target: Target, pull_KDHW: torch.Tensor) -> torch.Tensor:
    """The gradient (C, D, H, W; padded) with respect to the image: that of each tile, added up."""
    def parts():
        for batch in batches(subject, subject.reached(padded_mask(subject, target)), gradients=True):
            score = (logits_of(subject, batch) * batch.cut(pull_KDHW)).sum()
            (gradient,) = torch.autograd.grad(score, batch.image_BCDHW)
            yield from zip(batch.tiles, gradient, strict=True)

    return stitched(subject, subject.n_channels, parts(), weighted=False)


def _spread(subject: Subject) -> torch.Tensor:
    """The standard deviation of the noise in each channel (C,); 0 where the case lacks it."""
    values_CN = subject.unpadded(subject.image_CDHW).flatten(1)
    values_CN = values_CN[:, :: max(1, values_CN.shape[1] // _MOST_SAMPLED)]
    low_C, high_C = (values_CN.quantile(q, 1) for q in _RANGE)
    return _NOISE * (high_C - low_C) * torch.as_tensor(subject.present_C)
