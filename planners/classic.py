"""`classic`: the published rules of nnU-Net v2 (Isensee et al. 2021), and what its presets share."""

import functools
from collections.abc import Callable

from planners.architectures.unet import Block, UNet, convolution_values
from planners.rules.inputs import InputPlan, input_plan
from planners.rules.mirroring import with_mirroring
from planners.rules.patch import MIN_BATCH, fit_patch, largest_batch
from planners.rules.pooling import Pooling, unet
from planners.rules.prior import with_prior
from planners.rules.spacing import Grid, full_resolution, low_resolution
from planners.schema.base import Frozen, Part
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import GIB, Budget, Hardware
from planners.schema.plan import Configuration, Plan, Schedule

SCHEDULE = Schedule(
    iterations=250_000, iterations_per_epoch=250, learning_rate=1e-2, decay="poly", clip_norm=12, foreground_share=0.33,
    optimizer=Part(name="sgd", options={"momentum": 0.99, "nesterov": True, "weight_decay": 3e-5}))


class Preset(Frozen):
    """The constants of one published planner.

    `values_*` is what the convolutions of its network may write (`unet.convolution_values`) for one patch of a batch of
    `batch_*`, where the memory is `memory_gib`; it scales with the memory. A 2D patch shrinks until a batch of
    `smallest_batch_2d` fits.
    """

    block: Block
    memory_gib: float
    values_3d: float
    values_2d: float
    blocks_encoder: tuple[int, ...]
    convs_decoder: int
    dataset_share: float  # of the dataset's voxels that a batch may see
    smallest_batch_2d: int
    batch_2d: int = 12
    batch_3d: int = 2

    def unet(self, shape: Pooling) -> UNet:
        return unet(shape, self.block, self.blocks_encoder, self.convs_decoder)


CLASSIC = Preset(block="plain", memory_gib=8, values_3d=560e6, values_2d=85e6, blocks_encoder=(2,),
                 convs_decoder=2, dataset_share=0.05, smallest_batch_2d=2)


def classic(fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    """nnU-Net's default plan: a plain U-Net for 8 GiB, or for `budget.memory_bytes` if given; it ignores time."""
    return published_plan("classic", CLASSIC, fingerprint, budget)


def published_plan(name: str, preset: Preset, fingerprint: Fingerprint, budget: Budget) -> Plan:
    """The plan of one preset: 2d always, 3d_fullres for volumes, the low resolution and its cascade where it pays."""
    order, full = full_resolution(fingerprint)
    memory_gib = preset.memory_gib if budget.memory_bytes is None else budget.memory_bytes / GIB
    inputs = input_plan(fingerprint)
    fit = functools.partial(_fit, preset, memory_gib / preset.memory_gib, n_labels_counted(fingerprint))
    configure = functools.partial(_configure, preset, inputs, len(fingerprint.cases), fit)
    configurations = {"2d": configure(full.in_plane(), batch_dice=True)}
    reasons = [f"{name}: the published rules for {memory_gib:.3g} GiB", *inputs.reasons]
    if full.median_shape[0] != 1:
        low = low_resolution(full, lambda grid: fit(grid)[0].patch)
        if low is not None:
            reasons.append("3d_lowres: a patch at full resolution sees less than a quarter of the median case")
            configurations["3d_lowres"] = configure(low, batch_dice=False)
        fullres = configurations["3d_fullres"] = configure(full, batch_dice=low is not None)
        if low is not None:
            configurations["3d_cascade_fullres"] = fullres.model_copy(
                update={"data": "3d_fullres", "previous": "3d_lowres"})
    else:
        reasons.append("2d only: the median case is a single slice")
    plan = Plan(dataset=fingerprint.dataset, planner=name, channels=fingerprint.channels, labels=fingerprint.labels,
                intensities=fingerprint.intensities, conditions=fingerprint.conditions,
                modality_columns=fingerprint.modality_columns, transpose=order, fingerprint_digest=fingerprint.digest,
                reasons=tuple(reasons), configurations=configurations)
    return with_mirroring(with_prior(plan, fingerprint), fingerprint)


def n_labels_counted(fingerprint: Fingerprint) -> int:
    """The outputs that the published rules reckon with: every declared label, background and ignore included."""
    return len(fingerprint.labels.names) + (fingerprint.labels.ignore is not None)


def _fit(preset: Preset, memory_share: float, n_labels: int, grid: Grid) -> tuple[Pooling, int]:
    """The patch that fits on this grid, and the batch that fits with it."""
    flat = len(grid.spacing_mm) == 2
    reference = (preset.values_2d if flat else preset.values_3d) * memory_share
    batch = preset.batch_2d if flat else preset.batch_3d
    shrunk = preset.batch_2d / preset.smallest_batch_2d if flat else 1.0
    shape = fit_patch(grid, lambda tried: _values(preset, tried, n_labels) / shrunk <= reference)
    return shape, round(reference / _values(preset, shape, n_labels) * batch)


@functools.lru_cache(maxsize=4096)
def _values(preset: Preset, shape: Pooling, n_labels: int) -> int:
    return convolution_values(preset.unet(shape), shape.patch, n_labels)


def _configure(preset: Preset, inputs: InputPlan, n_cases: int, fit: Callable[[Grid], tuple[Pooling, int]], grid: Grid,
               batch_dice: bool) -> Configuration:
    """The network for a grid, with the patch and batch that fit."""
    shape, batch = fit(grid)
    most = largest_batch(grid, shape.patch, n_cases, preset.dataset_share)
    return Configuration(
        spacing_mm=grid.spacing_mm, median_shape=grid.median_shape, patch=shape.patch,
        batch=max(min(batch, most), MIN_BATCH), batch_dice=batch_dice,
        architecture=preset.unet(shape), network=Part(name="unet"), preprocess=inputs.preprocess,
        normalizers=inputs.normalizers, fusion=inputs.fusion, conditioning=inputs.conditioning,
        input_dropout=inputs.input_dropout, augmentation=Part(name="nnunet"),
        loss=Part(name="dice_ce"), schedule=SCHEDULE, mirror_axes=tuple(range(len(shape.patch))))
