"""`primus` and `vit2d`: transformers (Wald et al. 2025, "Primus"; Dosovitskiy et al. 2020) for a time and a memory.

Grids are those of the published rules (`classic`); tokens, size, patch and batch follow from what the budget allows.
"""

import math

from planners.architectures.vit import ViT
from planners.budgeted import (
    DEFAULT_SECONDS,
    DEFAULT_SECONDS_GPU,
    ENOUGH_ITERATIONS,
    LARGEST_BATCH,
    LARGEST_SMALL_BATCH,
    MEMORY_SHARE,
    PATCH_MEMORY_GIB,
    TRAINING_SHARE,
    WANTED_VOXELS,
    augmentation_for,
    mirror_axes_for,
)
from planners.classic import CLASSIC, SCHEDULE, published_plan
from planners.rules.budget import EMA, WARM_UP, in_words
from planners.schema.base import Frozen, Part
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import GIB, Budget, Hardware, StepSpeed
from planners.schema.plan import Configuration, Plan, Schedule

PUBLISHED_ITERATIONS = SCHEDULE.iterations or 0
WANTED_ITERATIONS = 50_000  # a fifth of the published schedule: below this a smaller network learns more in the same time
LEAST_ITERATIONS = 1000  # below this no context is worth its time
LEAST_TOKENS = 4  # along an axis that is halved for lack of time
WARM_UP_SHARE = 0.05  # 50 of the 1000 published epochs
LEARNING_RATE = 3e-4
ADAMW = Part(name="adamw", options={"betas": [0.9, 0.98], "weight_decay": 5e-2})

WHY_UNET = (
    "a U-Net is usually the better choice: with nnU-Net's 250,000 iterations the mean Dice of nine datasets is 80.7 for its "
    "plain U-Net, 81.5 for the residual one, and 79.1 for Primus-M (nnU-Net's documentation); what neighbouring voxels have "
    "in common a convolution knows from the start and a transformer learns, so that a shorter training costs it more. "
    "For the same budget the planner budgeted plans a U-Net")


class Size(Frozen):
    """A size by the name that its authors gave it."""

    name: str
    width: int
    depth: int
    heads: int


# From the largest down.
PRIMUS = (Size(name="Primus-M", width=864, depth=16, heads=12), Size(name="Primus-B", width=792, depth=12, heads=12),
          Size(name="Primus-S", width=396, depth=12, heads=6))
VIT2D = (Size(name="ViT", width=512, depth=8, heads=8),)


class _Offer(Frozen):
    """What a planner offers: sizes, the longest edge of a token, and of a patch."""

    sizes: tuple[Size, ...]
    token_edge: int
    patch_edge: float = math.inf


def primus(fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    """Transformers of tokens of 8 voxels along each axis, for volumes and slices; budgets default to those of `budgeted`."""
    return _planned("primus", _Offer(sizes=PRIMUS, token_edge=8), fingerprint, hardware, budget)


def vit2d(fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    """The flat baseline: slices of at most 224 x 224 pixels, in tokens of 16 x 16."""
    return _planned("vit2d", _Offer(sizes=VIT2D, token_edge=16, patch_edge=224), fingerprint, hardware, budget)


def token_edges(spacing_mm: tuple[float, ...], longest: int) -> tuple[int, ...]:
    """Edges of a token in voxels: as many millimetres along each axis, as near as powers of two come.

    >>> token_edges((5.0, 0.8, 0.8), 8)
    (1, 8, 8)
    """
    finest = min(spacing_mm)
    return tuple(max(1, longest >> round(math.log2(mm / finest))) for mm in spacing_mm)


class _Limits(Frozen):
    memory_bytes: float
    bytes_per_value: int  # GPUs compute in half precision
    seconds: float
    speed: StepSpeed
    n_outputs: int
    n_voxels: float
    anatomical: bool


class _Choice(Frozen):
    """A size with the patch and the batch that it sees."""

    size: Size
    token: tuple[int, ...]
    patch: tuple[int, ...]
    batch: int
    n_inputs: int

    @property
    def architecture(self) -> ViT:
        return ViT(token=self.token, width=self.size.width, depth=self.size.depth, heads=self.size.heads)

    def fits(self, limits: _Limits) -> bool:
        return limits.memory_bytes >= self.architecture.training_bytes(
            self.patch, self.n_inputs, limits.n_outputs, batch=self.batch, bytes_per_value=limits.bytes_per_value, moments=2,
            averaged=True)

    def step_seconds(self, limits: _Limits) -> float:
        return self.architecture.step_seconds(self.patch, self.n_inputs, limits.n_outputs, batch=self.batch,
                                              speed=limits.speed)

    def iterations(self, limits: _Limits) -> float:
        return limits.seconds * TRAINING_SHARE / self.step_seconds(limits)


def _planned(name: str, offer: _Offer, fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    memory = budget.memory_bytes or hardware.memory_bytes
    base = published_plan(name, CLASSIC, fingerprint, Budget(memory_bytes=int(min(memory, PATCH_MEMORY_GIB * GIB))))
    limits = _Limits(memory_bytes=MEMORY_SHARE * memory, speed=hardware.speed,
                     bytes_per_value=2 if hardware.device == "cuda" else 4,
                     seconds=budget.seconds_per_fold or DEFAULT_SECONDS.get(hardware.device, DEFAULT_SECONDS_GPU),
                     n_outputs=fingerprint.labels.n_heads, n_voxels=sum(math.prod(c.shape) for c in fingerprint.cases),
                     anatomical=any(case.shape[0] > 1 for case in fingerprint.cases))
    is_flat = offer.patch_edge < math.inf
    known = {key: base.configurations[key] for key in base.configurations if not is_flat or key == "2d"}
    configurations, reasons = {}, [*base.reasons[1:], WHY_UNET]
    for key, configuration in known.items():
        configurations[key], reason = _fitted(configuration, offer, limits, len(fingerprint.channels),
                                              len(fingerprint.labels.foreground))
        reasons.append(f"{key}: {reason}")
    return base.model_copy(update={"configurations": configurations, "reasons": tuple(reasons)})


def _fitted(base: Configuration, offer: _Offer, limits: _Limits, n_channels: int, n_foreground: int
            ) -> tuple[Configuration, str]:
    """The configuration with a transformer, patch, batch and schedule for the budget, and the reason in words."""
    choice = _chosen(base, offer, limits, n_channels + (n_foreground if base.previous else 0))
    iterations, architecture = choice.iterations(limits), choice.architecture
    views = iterations * choice.batch * math.prod(choice.patch) / max(1, limits.n_voxels)
    fitted = base.model_copy(update={
        "patch": choice.patch, "batch": choice.batch, "batch_dice": True, "architecture": architecture,
        "network": Part(name="vit"), "augmentation": augmentation_for(views), "views": round(views, 1),
        "step_seconds": float(f"{choice.step_seconds(limits):.5g}"),
        "mirror_axes": mirror_axes_for(base, limits.anatomical), "schedule": _schedule(limits.seconds, iterations)})
    patch, token = ("x".join(map(str, edges)) for edges in (choice.patch, choice.token))
    reason = (f"{choice.size.name}, {architecture.depth} layers of width {architecture.width} on "
              f"{architecture.voxels(choice.patch)[0]} tokens of {token} voxels: about {iterations:.0f} iterations of "
              f"{choice.batch} patches {patch} fit {in_words(limits.seconds)}, {iterations / PUBLISHED_ITERATIONS:.1%} "
              "of those behind the published figures")
    return fitted, reason


def _chosen(base: Configuration, offer: _Offer, limits: _Limits, n_inputs: int) -> _Choice:
    """The largest size that trains for WANTED_ITERATIONS; else the smallest, on a smaller patch where time or memory lack.

    Raises ValueError where the memory suffices for none.
    """
    token, patch = _tokens(base, offer)
    while True:
        batch = max(2, min(LARGEST_SMALL_BATCH, math.ceil(WANTED_VOXELS / math.prod(patch))))
        choices = [_Choice(size=size, token=token, patch=patch, batch=batch, n_inputs=n_inputs) for size in offer.sizes]
        choice = next((one for one in choices if one.fits(limits) and one.iterations(limits) >= WANTED_ITERATIONS),
                      choices[-1])
        while not choice.fits(limits) and choice.batch > 2:
            choice = choice.model_copy(update={"batch": max(2, choice.batch // 2)})
        smaller = _halved(patch, token, base.spacing_mm)
        if choice.fits(limits) and (choice.iterations(limits) >= LEAST_ITERATIONS or smaller is None):
            break
        if smaller is None:
            raise ValueError(f"two patches of {patch} voxels do not fit {limits.memory_bytes / GIB:.2g} GiB with "
                             f"{choice.size.name}; allow more memory")
        patch = smaller
    while choice.batch < LARGEST_BATCH:
        larger = choice.model_copy(update={"batch": 2 * choice.batch})
        if not larger.fits(limits) or larger.iterations(limits) < max(ENOUGH_ITERATIONS, WANTED_ITERATIONS):
            break
        choice = larger
    return choice


def _tokens(base: Configuration, offer: _Offer) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The edges of a token, and the patch in whole tokens; tokens are smaller where a patch would be a single one."""
    longest = offer.token_edge
    while True:
        token = token_edges(base.spacing_mm, longest)
        patch = tuple(math.ceil(min(n, offer.patch_edge) / edge) * edge for n, edge in zip(base.patch, token, strict=True))
        if patch != token:
            return token, patch
        if longest == 2:
            raise ValueError(f"images of {base.median_shape} voxels are too small for a transformer")
        longest //= 2


def _halved(patch: tuple[int, ...], token: tuple[int, ...], spacing_mm: tuple[float, ...]) -> tuple[int, ...] | None:
    """The patch with its longest axis in mm halved, in whole tokens; None where no axis has tokens enough."""
    extents = [n * mm if n >= 2 * LEAST_TOKENS * edge else 0.0
               for n, edge, mm in zip(patch, token, spacing_mm, strict=True)]
    if not any(extents):
        return None
    axis = extents.index(max(extents))
    return tuple(n // edge // 2 * edge if a == axis else n for a, (n, edge) in enumerate(zip(patch, token, strict=True)))


def _schedule(seconds: float, iterations: float) -> Schedule:
    return Schedule(budget_seconds=seconds, learning_rate=LEARNING_RATE, decay="cosine", clip_norm=1, ema=EMA,
                    warmup_iterations=max(WARM_UP, round(WARM_UP_SHARE * min(iterations, PUBLISHED_ITERATIONS))),
                    optimizer=ADAMW)
