"""`budgeted`: autoseg's own planner and the default. The network is as large as the given time can train well.

Grids, patches and strides follow the published rules (`classic`). Width, depth, batch, recipe and augmentation follow
from how many iterations the budget allows. The constants were measured on two CPU
cores on Decathlon hippocampus (see benchmarks/RESULTS.md).
"""

import math
from collections.abc import Callable

from planners.architectures.unet import Block, UNet
from planners.classic import CLASSIC, published_plan
from planners.rules.budget import EMA, SELDOM_SEEN, WARM_UP, in_words
from planners.rules.ceiling import COARSER, affordable_spacing
from planners.rules.phases import ends_of, mean_voxels_share, planned_size, seconds_between, sizes_of
from planners.rules.pooling import Pooling, pooling, unet
from planners.rules.slices import as_headers_say, as_thick_as_they_are, thick_slices
from planners.rules.spacing import coarser
from planners.schema.base import Frozen, Part
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import GIB, Budget, Hardware, StepSpeed
from planners.schema.phases import Phase
from planners.schema.plan import Configuration, Plan, Schedule

DEFAULT_SECONDS = {"cpu": 3600.0}
DEFAULT_SECONDS_GPU = 4 * 3600.0
PATCH_MEMORY_GIB = 16.0  # a larger patch shows nothing more that matters
MEMORY_SHARE = 0.9  # of the memory that is planned with; the rest is for kernels' workspace
TRAINING_SHARE = 0.85  # of the budget; the rest is start-up, checks and the final validation
WANTED_ITERATIONS = 2500  # below this a smaller network learns more in the same time
TRADED_ITERATIONS = 1800  # of whole patches: more are worth less than twice the channels or patch (docs/decisions/0072)
LEAST_ITERATIONS = 200  # below this no context is worth its time
ENOUGH_ITERATIONS = 30_000  # above this a larger batch uses the time better
SMALLEST_PATCH_EDGE = 32
WANTED_VOXELS = 2**17  # a step on fewer has a noisy gradient; small images come in larger batches
LARGEST_SMALL_BATCH = 64
LARGEST_BATCH = 8
# Networks of fewer channels at full resolution train schedule-free; wider ones were not measured with it. Half and twice the
# rate were worse (docs/decisions/0066).
WIDE = 32
SCHEDULE_FREE_RATE = 1.2e-2
SCHEDULE_FREE_WARM_UP = 0.05  # of the iterations
# Of the layers that read a table, of this rate: the rate that AdamW gave them. At the whole one a conditioner with hidden
# layers learned next to nothing (docs/decisions/0073).
CONDITIONING_RATE = 0.25
# Small patches first: more iterations fit the time, and the last fifth sees whole patches (docs/decisions/0071).
PHASES = (Phase(until=0.5, patch_share=0.5), Phase(until=0.8, patch_share=0.75))
LEAST_HELD = 0.25  # of the median case, by a patch of which smaller ones help: with 32 % they helped, with 15 % they harmed
LEARNING_RATE = 3e-3  # of AdamW; 1000 iterations reach Dice .883, with half of it .882
OFTEN_SEEN = 40  # views of a voxel from which turning and scaling pay
VERY_OFTEN_SEEN = 1000  # and from which nnU-Net's whole set does
VOXELS_ACROSS = 4  # of a small lesion, which a coarser grid must leave where no ceiling was measured


class Size(Frozen):
    """A network's size: channels of the first stages, then doubled at each stage up to `largest`."""

    block: Block
    features: tuple[int, ...]
    largest: int
    blocks_encoder: tuple[int, ...]
    convs_decoder: int

    def unet(self, shape: Pooling) -> UNet:
        features = list(self.features[: shape.stages])
        while len(features) < shape.stages:
            features.append(min(2 * features[-1], self.largest))
        architecture = unet(shape, self.block, self.blocks_encoder, self.convs_decoder)
        return architecture.model_copy(update={"features": tuple(features)})


# From the largest down; the first that can be trained for WANTED_ITERATIONS within the budget is chosen. Channels come in
# sixteens, the width of a processor's bf16 registers: 24 cost as much as 32 (0.60 s against 0.71 s per step, 16: 0.26 s).
# At full resolution few are enough: 16-64-128-256 takes 0.44 s where 32-64-128-256 takes 0.71 s.
SIZES = (
    Size(block="residual", features=(32,), largest=320, blocks_encoder=(1, 3, 4, 6), convs_decoder=1),
    Size(block="plain", features=(32,), largest=320, blocks_encoder=(2,), convs_decoder=2),
    Size(block="plain", features=(16, 64), largest=320, blocks_encoder=(1, 2), convs_decoder=1),
    Size(block="plain", features=(16, 48), largest=256, blocks_encoder=(1, 2), convs_decoder=1),
    Size(block="plain", features=(16, 32), largest=192, blocks_encoder=(1, 2), convs_decoder=1),
)

# With half of the channels, for patches that would hold too little otherwise.
NARROW = Size(block="plain", features=(8, 16), largest=128, blocks_encoder=(1, 2), convs_decoder=1)

# The sizes of a configuration, by its name and what the published rules planned: from the largest down, then a narrow one.
SizesOf = Callable[[str, Configuration], tuple[Size, ...]]


def budgeted(fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    """The plan for a memory target and a time budget; what is not given explicitly is the machine's or a default.

    Defaults: all memory of the device, 4 hours per fold on a GPU, 1 hour on a CPU. Slices that are much thicker than their
    header says are planned with as they are.
    """
    return planned_to_time("budgeted", lambda name, base: (*SIZES, NARROW), fingerprint, hardware, budget)


def planned_to_time(planner: str, sizes_of: SizesOf, fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    """The plan with the largest network, of the sizes that there are, which the time can train well."""
    slices = thick_slices(fingerprint)
    if slices is None:
        return _as_described(planner, sizes_of, fingerprint, hardware, budget)
    described = as_thick_as_they_are(fingerprint, slices)
    return as_headers_say(_as_described(planner, sizes_of, described, hardware, budget), slices)


def _as_described(planner: str, sizes_of: SizesOf, fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    """The plan where every spacing is true."""
    memory = budget.memory_bytes or hardware.memory_bytes
    seconds = budget.seconds_per_fold or DEFAULT_SECONDS.get(hardware.device, DEFAULT_SECONDS_GPU)
    patch_memory = int(min(memory, PATCH_MEMORY_GIB * GIB))
    base = published_plan(planner, CLASSIC, fingerprint, Budget(memory_bytes=patch_memory))
    limits = _Limits(sizes=(), memory_bytes=MEMORY_SHARE * memory, seconds=seconds, speed=hardware.speed,
                     anatomical=any(case.shape[0] > 1 for case in fingerprint.cases),
                     n_inputs=len(fingerprint.channels), n_outputs=fingerprint.labels.n_heads,
                     n_cases=len(fingerprint.cases), n_voxels=sum(math.prod(case.shape) for case in fingerprint.cases),
                     coarsest_ml=_coarsest_ml(fingerprint), slice_mm=_slice_mm(base))
    configurations, reasons = {}, list(base.reasons)
    reasons.append("mirrored along left-right only: bodies have no other symmetry, and a short training pays for each"
                   if limits.anatomical else "mirrored along every axis: flat images have no up and no left")
    for name, configuration in base.configurations.items():
        allowed = limits.model_copy(update={"sizes": sizes_of(name, configuration)})
        if "3d_lowres" not in base.configurations:  # else that is the coarse one
            configuration, allowed, why = _affordable(configuration, allowed, fingerprint)
            reasons += [f"{name}: {why}"] if why else []
        elif name == "3d_lowres":
            coarser_by = math.prod(configuration.spacing_mm) / math.prod(base.configurations["3d_fullres"].spacing_mm)
            allowed = allowed.model_copy(update={"n_voxels": allowed.n_voxels / coarser_by})
        configurations[name], reason = _fitted(configuration, allowed)
        reasons.append(f"{name}: {reason}")
    return base.model_copy(update={"configurations": configurations, "reasons": tuple(reasons)})


class _Limits(Frozen):
    sizes: tuple[Size, ...]
    memory_bytes: float
    seconds: float
    speed: StepSpeed
    anatomical: bool  # volumes of a body, not flat images
    n_inputs: int
    n_outputs: int
    n_cases: int
    n_voxels: float  # of all cases, on the grid that is planned
    coarsest_ml: float  # volume of a voxel that may not be exceeded
    slice_mm: dict[int, float]  # by number of axes: the thickness that a voxel's spacing does not tell

    def iterations(self, shape: Pooling, size: Size, batch: int) -> float:
        """How many the budget allows; 0 where a batch does not fit the memory."""
        architecture = size.unet(shape)
        step_bytes = architecture.training_bytes(shape.patch, self.n_inputs, self.n_outputs, batch=batch, moments=3)
        return 0.0 if step_bytes > self.memory_bytes else self._in_time(shape, size, batch)

    def _in_time(self, shape: Pooling, size: Size, batch: int) -> float:
        return self.seconds * TRAINING_SHARE / self.step_seconds(shape, size, batch)

    def step_seconds(self, shape: Pooling, size: Size, batch: int) -> float:
        return size.unet(shape).step_seconds(shape.patch, self.n_inputs, self.n_outputs, batch=batch, speed=self.speed)

    def views(self, shape: Pooling, size: Size, batch: int) -> float:
        """How often the budget shows a voxel of the dataset to the network, were there memory enough."""
        return self._in_time(shape, size, batch) * batch * math.prod(shape.patch) / max(1.0, self.n_voxels)


def _slice_mm(base: Plan) -> dict[int, float]:
    volume = base.configurations.get("3d_fullres")
    return {2: 1.0 if volume is None else volume.spacing_mm[0], 3: 1.0}


def _coarsest_ml(fingerprint: Fingerprint) -> float:
    """The volume of a voxel of which a lesion of the 25th percentile still has `VOXELS_ACROSS` along each axis."""
    small = [stats.component_ml_percentiles[1] for stats in fingerprint.label_stats if stats.components]
    return min(small) / VOXELS_ACROSS**3 if small else math.inf


def _affordable(base: Configuration, limits: _Limits, fingerprint: Fingerprint) -> tuple[Configuration, _Limits, str]:
    """The configuration on a coarser grid, where even the smallest network would see a voxel too seldom; and why.

    Measured on 24 patients with sarcomas (benchmarks/RESULTS.md).
    """
    seen = limits.views(pooling(base.spacing_mm, base.patch), limits.sizes[-2], 2)
    if seen >= SELDOM_SEEN:
        return base, limits, ""
    wanted = SELDOM_SEEN / max(seen, 1e-9)
    spacing = (affordable_spacing(fingerprint, base.spacing_mm, wanted) if fingerprint.ceilings
               else _coarser_by_volume(base, limits, wanted))
    if spacing == base.spacing_mm:
        return base, limits, ""
    shape = tuple(float(max(1, round(n * old / new))) for n, old, new in
                  zip(base.median_shape, base.spacing_mm, spacing, strict=True))
    patch = tuple(min(edge, int(n)) for edge, n in zip(base.patch, shape, strict=True))
    coarse = base.model_copy(update={"spacing_mm": spacing, "median_shape": shape, "patch": patch})
    gain = math.prod(spacing) / math.prod(base.spacing_mm)
    factors = "x".join(f"{new / old:.3g}" for new, old in zip(spacing, base.spacing_mm, strict=True))
    why = (f"resampled to voxels {factors} times coarser than those of the images: at their own resolution a voxel would be "
           f"seen {seen:.1f} times in the time there is")
    return coarse, limits.model_copy(update={"n_voxels": limits.n_voxels / gain}), why


def _coarser_by_volume(base: Configuration, limits: _Limits, wanted: float) -> tuple[float, ...]:
    """The coarser spacing where no ceiling was measured: a small lesion keeps some voxels, as far as volumes tell."""
    spacing = base.spacing_mm
    for factor in COARSER:
        tried = coarser(base.spacing_mm, factor)
        if (math.prod(spacing) >= wanted * math.prod(base.spacing_mm)
                or math.prod(tried) * limits.slice_mm[base.dimensions] > 1000 * limits.coarsest_ml):
            break
        spacing = tried
    return spacing


def _fitted(base: Configuration, limits: _Limits) -> tuple[Configuration, str]:
    """The configuration with a network, patch, batch and recipe for the budget, and the reason in words."""
    shape = pooling(base.spacing_mm, base.patch)
    batch = max(2, min(LARGEST_SMALL_BATCH, math.ceil(WANTED_VOXELS / math.prod(shape.patch))))
    size = next((s for s in limits.sizes[:-1] if limits.iterations(shape, s, batch) >= WANTED_ITERATIONS), None)
    if size is None:
        shape, size = _traded(shape, base, limits, batch)
    while limits.iterations(shape, size, batch) == 0:
        if batch == 2:
            raise ValueError(f"two patches of {shape.patch} voxels do not fit {limits.memory_bytes / GIB:.2g} GiB with the "
                             "smallest network; allow more memory")
        batch = max(2, batch // 2)
    while batch < LARGEST_BATCH and limits.iterations(shape, size, 2 * batch) >= ENOUGH_ITERATIONS:
        batch *= 2
    architecture = size.unet(shape)
    fitted = _in_phases(base.model_copy(update={
        "patch": shape.patch, "batch": batch, "batch_dice": True, "architecture": architecture, "network": Part(name="unet"),
        "step_seconds": float(f"{limits.step_seconds(shape, size, batch):.5g}"),
        "mirror_axes": mirror_axes_for(base, limits.anatomical), "schedule": _schedule(limits.seconds, size, base)}),
        held=_held(shape.patch, base))
    iterations = limits.seconds * TRAINING_SHARE / _mean_step_seconds(fitted, limits)
    voxels = batch * math.prod(shape.patch) * mean_voxels_share(fitted)
    views = iterations * voxels / max(1, limits.n_voxels)
    channels, patch = ("-".join(map(str, architecture.features)), "x".join(map(str, shape.patch)))
    smaller = ", smaller ones at first," if fitted.schedule.phases else ""
    reason = (f"about {iterations:.0f} iterations of {batch} patches {patch}{smaller} fit {in_words(limits.seconds)} with a "
              f"{architecture.title} of {channels} channels; {augmentation_in_words(views, limits.n_cases)}; a patch holds "
              f"{_held(shape.patch, base):.0%} of the median case")
    return fitted.model_copy(update={"augmentation": augmentation_for(views), "views": round(views, 1)}), reason


def _in_phases(configuration: Configuration, held: float) -> Configuration:
    """The same without phases where a patch shows so small a share of a case that half of it shows too little, and where no
    phase has another size than the plan's: the smallest patches stay as they are.
    """
    if held >= LEAST_HELD and any(size != planned_size(configuration) for size in sizes_of(configuration)):
        return configuration
    return configuration.model_copy(update={"schedule": configuration.schedule.model_copy(update={"phases": ()})})


def _mean_step_seconds(configuration: Configuration, limits: _Limits) -> float:
    """Seconds of a step, in the mean over all iterations."""
    seconds = [configuration.architecture.step_seconds(size.patch, limits.n_inputs, limits.n_outputs, batch=size.batch,
                                                       speed=limits.speed) for size in sizes_of(configuration)]
    return seconds_between(ends_of(configuration.schedule.phases), seconds, 0, 1)


def _traded(shape: Pooling, base: Configuration, limits: _Limits, batch: int) -> tuple[Pooling, Size]:
    """The patch and size that are worth most, where not even the smallest usual size can see the whole patch long enough.

    Up to TRADED_ITERATIONS, twice the iterations, twice the share of the median case that a patch holds, and twice the
    channels at full resolution are worth the same. Where no choice has LEAST_ITERATIONS, the most iterations win; where none
    fits the memory, the smallest patch.
    """
    patches = [shape]
    while (smaller := _halved(patches[-1], base.spacing_mm)) is not None:
        patches.append(smaller)

    def worth(choice: tuple[Pooling, Size]) -> tuple[float, float, int]:
        patch, size = choice
        iterations = limits.iterations(patch, size, batch)
        return (min(iterations, LEAST_ITERATIONS),
                min(iterations, TRADED_ITERATIONS) * _held(patch.patch, base) * size.features[0], -math.prod(patch.patch))

    return max(((patch, size) for patch in patches for size in limits.sizes[-2:]), key=worth)


def _held(patch: tuple[int, ...], base: Configuration) -> float:
    """The share of the median case that a patch holds."""
    return math.prod(min(1.0, edge / side) for edge, side in zip(patch, base.median_shape, strict=True))


def _halved(shape: Pooling, spacing_mm: tuple[float, ...]) -> Pooling | None:
    """A patch of about half the voxels: its longest axis in mm is shortened by a stride; None at the smallest."""
    extents = [n * mm if n >= 2 * SMALLEST_PATCH_EDGE else 0 for n, mm in zip(shape.patch, spacing_mm, strict=True)]
    if not any(extents):
        return None
    axis = extents.index(max(extents))
    return pooling(spacing_mm, tuple(n // 2 if a == axis else n for a, n in enumerate(shape.patch)))


def mirror_axes_for(base: Configuration, anatomical: bool) -> tuple[int, ...]:
    """Axes that are worth mirroring in a training of limited length.

    Measured on hippocampus: 1000 iterations mirrored along left-right alone reach Dice .882, 2000 along all axes .874;
    and a case is then predicted twice, not eight times.
    """
    if not anatomical:
        return base.mirror_axes
    return tuple(axis for axis in base.mirror_axes if axis == base.pair_axis)


def _schedule(seconds: float, size: Size, base: Configuration) -> Schedule:
    """How a network of this size trains. Where it is schedule-free, the optimiser averages the weights itself and nothing
    decays: the answer is good at any moment.
    """
    decayed = {"weight_decay": 1e-2}
    if size.features[0] >= WIDE:
        return Schedule(budget_seconds=seconds, learning_rate=LEARNING_RATE, decay="cosine", warmup_iterations=WARM_UP,
                        clip_norm=12, ema=EMA, foreground_share=1 / 3, optimizer=Part(name="adamw", options=decayed))
    reading = {} if base.conditioning.name == "none" else {"conditioning_rate": CONDITIONING_RATE}
    return Schedule(budget_seconds=seconds, learning_rate=SCHEDULE_FREE_RATE, decay="constant", warmup_iterations=WARM_UP,
                    warmup_share=SCHEDULE_FREE_WARM_UP, clip_norm=12, foreground_share=1 / 3, phases=PHASES,
                    optimizer=Part(name="schedule_free_adamw", options=decayed | reading))


def augmentation_for(views: float) -> Part:
    """The more often the data are seen, the stronger: what is seen a few times cannot be memorised."""
    if views >= VERY_OFTEN_SEEN:
        return Part(name="nnunet")
    turned = {"p_rotation": 0.2, "rotation_degrees": 20.0, "p_scaling": 0.2, "scaling": (0.85, 1.2)}
    return Part(name="light", options=turned if views >= OFTEN_SEEN else {})


def augmentation_in_words(views: float, n_cases: int) -> str:
    """The augmentation of so many cases, and why.

    >>> augmentation_in_words(12, 200)
    'light augmentation, as a voxel of the 200 cases is seen about 12 times'
    """
    name = augmentation_for(views).name
    reason = f"as a voxel of the {n_cases} cases is seen about {views:.0f} times"
    if views < OFTEN_SEEN:
        return f"{name} augmentation, {reason}"
    turned = " with rotation and scaling" if name == "light" else ""
    return f"stronger augmentation ({name}{turned}), {reason}: few cases are seen often, and must not be memorised"
