"""How nnU-Net v2 predicts a case, written down once more from its published description: crop, normalise, resample with
scikit-image, Gaussian tiles with mirroring, resample the logits, decide. Slow and plain; nothing of autoseg is used.
"""

import itertools
import math

import numpy as np
import torch
from scipy.ndimage import binary_fill_holes, map_coordinates
from skimage.transform import resize


def predicted(image_CDHW, spacing_mm, plans, configuration, networks, *, axes, n_heads, previous_DHW=None, regions=None,
              values=()):
    """The label map (z, y, x). `values` are the label values of a cascade's inputs, `regions` the order of region values."""
    order = plans["transpose_forward"]
    image = image_CDHW.transpose(0, *(1 + axis for axis in order)).astype(np.float32)
    spacing = [spacing_mm[axis] for axis in order]
    inside = binary_fill_holes((image != 0).any(0))
    box = tuple(slice(index.min(), index.max() + 1) for index in np.where(inside))
    cropped, inside = image[(slice(None), *box)], inside[box]
    target = list(configuration["spacing"])
    target = [spacing[0], *target] if len(target) == 2 else target
    shape = [round(old / new * n) for old, new, n in zip(spacing, target, cropped.shape[1:], strict=True)]
    stats = plans["foreground_intensity_properties_per_channel"]
    channels = [normalised(channel, inside, scheme, masked, stats[str(c)]) for c, (channel, scheme, masked) in enumerate(zip(
        cropped, configuration["normalization_schemes"], configuration["use_mask_for_norm"], strict=True))]
    channels = [resampled(channel, shape, spacing, target, 3) for channel in channels]
    if previous_DHW is not None:
        before = previous_DHW.transpose(order)[box]
        votes = [resampled((before == value).astype(float), shape, spacing, target, 1) for value in values]
        channels += [(vote >= 0.5).astype(np.float32) for vote in votes]
    logits = tiled(np.stack(channels), configuration["patch_size"], networks, axes, n_heads)
    logits = np.stack([resampled(head, cropped.shape[1:], target, spacing, 1) for head in logits])
    if regions is None:
        decided = logits.argmax(0)
    else:
        decided = np.zeros(logits.shape[1:], int)
        for value, head in zip(regions, logits, strict=True):
            decided[head > 0] = value
    out = np.zeros(image.shape[1:], np.uint8)
    out[box] = decided
    return out.transpose([list(order).index(axis) for axis in range(3)])


def normalised(image, inside, scheme, masked, stats):
    image = image.copy()
    if scheme == "CTNormalization":
        return (np.clip(image, stats["percentile_00_5"], stats["percentile_99_5"]) - stats["mean"]) / max(stats["std"], 1e-8)
    if scheme == "RescaleTo01Normalization":
        image -= image.min()
        return image / max(image.max(), 1e-8)
    part = inside if masked else np.ones_like(inside)
    image[part] = (image[part] - image[part].mean()) / max(image[part].std(), 1e-8)
    return image


def resampled(image, shape, spacing, target, order):
    """Slices apart, across them the nearest, where old or new voxels are three times longer than wide."""
    shape = list(shape)
    if list(image.shape) == shape:
        return image
    arguments = {"order": order, "mode": "edge", "anti_aliasing": False}
    anisotropic = next((mm for mm in (spacing, target) if max(mm) / min(mm) > 3), None)
    coarse = [] if anisotropic is None else [axis for axis, mm in enumerate(anisotropic) if mm == max(anisotropic)]
    if len(coarse) != 1:
        return resize(image.astype(float), shape, **arguments)
    (axis,) = coarse
    in_plane = [n for other, n in enumerate(shape) if other != axis]
    slices = np.stack([resize(part.astype(float), in_plane, **arguments) for part in np.moveaxis(image, axis, 0)], axis)
    grid = [n / m * (np.arange(m) + 0.5) - 0.5 for n, m in zip(slices.shape, shape, strict=True)]
    return map_coordinates(slices, np.meshgrid(*grid, indexing="ij"), order=0, mode="nearest")


def tiled(image_CDHW, patch, networks, axes, n_heads):
    flat = len(patch) == 2
    size = [1, *patch] if flat else list(patch)
    missing = [max(0, edge - n) for edge, n in zip(size, image_CDHW.shape[1:], strict=True)]
    image = np.pad(image_CDHW, [(0, 0), *((n // 2, n - n // 2) for n in missing)])
    starts = []
    for n, edge in zip(image.shape[1:], size, strict=True):
        steps = math.ceil((n - edge) / (max(edge * 0.5, 1)))
        starts.append([round((n - edge) / steps * i) for i in range(steps + 1)] if steps else [0])
    distances = [np.arange(edge) - edge // 2 for edge in size]
    weight = np.ones(size)
    for axis, distance in enumerate(distances):
        if size[axis] > 1:
            along = np.exp(-0.5 * (distance / (size[axis] / 8)) ** 2)
            weight = weight * along.reshape([-1 if other == axis else 1 for other in range(3)])
    total, weights = np.zeros((n_heads, *image.shape[1:])), np.zeros(image.shape[1:])
    for start in itertools.product(*starts):
        window = tuple(slice(s, s + edge) for s, edge in zip(start, size, strict=True))
        tile = torch.from_numpy(np.ascontiguousarray(image[(slice(None), *window)], dtype=np.float32))[None]
        tile = tile[:, :, 0] if flat else tile
        logits = sum(mirrored(network, tile, axes) for network in networks) / len(networks)
        total[(slice(None), *window)] += (logits[:, None] if flat else logits).numpy() * weight
        weights[window] += weight
    inside = tuple(slice(n // 2, n // 2 + m) for n, m in zip(missing, image_CDHW.shape[1:], strict=True))
    return (total / weights)[(slice(None), *inside)]


@torch.inference_mode()
def mirrored(network, tile, axes):
    copies = [combination for n in range(len(axes) + 1) for combination in itertools.combinations(axes, n)]
    flips = [[axis + 2 for axis in combination] for combination in copies]
    return sum(torch.flip(network(torch.flip(tile, flip)), flip) for flip in flips)[0] / len(flips)
