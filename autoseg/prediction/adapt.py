"""Test-time adaptation, an experiment: a copy of a network is changed for one case until two views of it agree.

After DG-TTA (Weihsbach et al. 2023): patches of the case are turned and scaled at random in two ways, the two predictions
are brought back, and their soft Dice is raised by AdamW at a small rate. No label is used, and agreement is not correctness:
a network that calls everything background agrees with itself. The stored weights and the model in memory stay as they are.
"""

import copy
import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F

from autoseg.base.errors import TrainingFailed
from autoseg.base.runtime import Runtime
from autoseg.batches.augment.spatial import affine_matrix, is_dummy_2d
from autoseg.clinical.encoded import ConditionBatch
from autoseg.nn.model import Model
from autoseg.prediction.inference_settings import Adaptation
from autoseg.prediction.models import FoldModel
from autoseg.prediction.tiles import cover
from planners.schema.plan import Configuration

_SMOOTH = 1.0  # voxels; a head that neither view predicts agrees


@dataclass(frozen=True)
class CaseToAdapt:
    """A case as networks see it: channels (C, D, H, W) and what is absent (or None), and which channels are present."""

    name: str
    image_CDHW: np.ndarray
    present_C: np.ndarray
    absent_CDHW: np.ndarray | None = None


def adapted(models: Sequence[FoldModel], encoded: Sequence[ConditionBatch | None], case: CaseToAdapt,
            configuration: Configuration, runtime: Runtime, settings: Adaptation, *, regions: bool) -> list[FoldModel]:
    """A copy of each model that is adapted to the case; `encoded` are its conditions as each model encodes them. `regions`:
    heads are probabilities each by itself.

    The same seed, case and weights give the same result, on a CPU to the last bit. Raises TrainingFailed where a loss is not
    finite.
    """
    views = _Views(case, configuration, runtime, settings)
    given = [conditions and conditions.to(runtime.device) for conditions in encoded]
    return [replace(model, model=_adapted(copy.deepcopy(model.model), conditions, views, case.name, settings, regions))
            for model, conditions in zip(models, given, strict=True)]


def _adapted(model: Model, conditions: ConditionBatch | None, views: "_Views", case: str, settings: Adaptation,
             regions: bool) -> Model:
    generator = torch.Generator().manual_seed(_seed(settings.seed, case))
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    for _ in range(settings.epochs):
        optimizer.zero_grad()
        for _ in range(settings.patches):
            loss = views.disagreement(model, conditions, regions, generator) / settings.patches
            if not math.isfinite(float(loss.detach())):
                raise TrainingFailed("the network cannot be adapted: its loss is not finite", where=f"case {case}",
                                     do="predict without --adapt")
            loss.backward()
        optimizer.step()
    return model.requires_grad_(False)


def _seed(seed: int, case: str) -> int:
    """Of a case by its name, so that neither the order of cases nor other cases matter."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {case}".encode(), digest_size=7).digest(), "little")


class _Views:
    """Random patches of a case, seen in two ways."""

    def __init__(self, case: CaseToAdapt, configuration: Configuration, runtime: Runtime, settings: Adaptation):
        tiling = cover(case.image_CDHW.shape[1:], configuration.patch)
        self._windows = [tile.window for tile in tiling]
        self._n_channels, self._n_images = len(case.image_CDHW), len(configuration.normalizers)
        absent = np.zeros((0, *case.image_CDHW.shape[1:]), bool) if case.absent_CDHW is None else case.absent_CDHW
        self._layers_CDHW = tiling.padded(torch.from_numpy(np.concatenate([case.image_CDHW, absent.astype(np.float32)])))
        self._present_1C = torch.from_numpy(case.present_C)[None].to(runtime.device)
        self._patch, self._settings, self._runtime = configuration.patch, settings, runtime

    def disagreement(self, model: Model, conditions: ConditionBatch | None, regions: bool, generator: torch.Generator
                     ) -> torch.Tensor:
        """1 - soft Dice of what the model says of two views of a random patch, where both see it."""
        window = self._windows[int(torch.randint(len(self._windows), (), generator=generator))]
        layers = self._layers_CDHW[(slice(None), *window)][None].to(self._runtime.device)
        if len(self._patch) == 2:
            layers = layers[:, :, 0]
        (a, seen_a), (b, seen_b) = (self._brought_back(model, conditions, layers, regions, generator) for _ in range(2))
        return soft_dice_loss(a, b, seen_a * seen_b)

    def _brought_back(self, model: Model, conditions: ConditionBatch | None, layers_1C: torch.Tensor, regions: bool,
                      generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Probabilities (1, K, *patch) of a view on the grid of the patch, and the share of each voxel that it saw."""
        matrix = self._random_matrix(generator)
        low, high = self._settings.gain
        gain = low + (high - low) * float(torch.rand((), generator=generator))
        view = _warped(layers_1C, matrix)
        binary = (view[:, self._n_images:] > 0.5).float()  # an earlier prediction, and what is absent
        image = torch.cat([gain * view[:, :self._n_images], binary[:, :self._n_channels - self._n_images]], dim=1)
        absent = binary[:, self._n_channels - self._n_images:] > 0
        logits = model(self._runtime.arranged(image, len(self._patch)), self._present_1C, conditions,
                       absent if absent.shape[1] else None)
        probabilities = logits.sigmoid() if regions else logits.softmax(1)
        seen = _warped(torch.ones_like(layers_1C[:, :1]), matrix)
        inverse = np.linalg.inv(matrix)
        return _warped(probabilities, inverse), _warped(seen, inverse)

    def _random_matrix(self, generator: torch.Generator) -> np.ndarray:
        """A turn and a scaling of a patch; in-plane only where the patch is augmented so."""
        draws = torch.rand(4, generator=generator).numpy().astype(np.float64)
        angles = np.radians(self._settings.rotation_degrees) * (2 * draws[:3] - 1)
        low, high = self._settings.scaling
        n = len(self._patch)
        moving = 2 if is_dummy_2d(self._patch) else n
        matrix = np.eye(n)
        matrix[n - moving:, n - moving:] = affine_matrix(angles, low + (high - low) * float(draws[3]), moving)
        return matrix


def soft_dice_loss(a_BK: torch.Tensor, b_BK: torch.Tensor, weight_B1: torch.Tensor) -> torch.Tensor:
    """1 - the mean soft Dice over heads of two sets of probabilities (B, K, *space), voxels weighted (B, 1, *space)."""
    axes = [0, *range(2, a_BK.ndim)]
    common = (a_BK * b_BK * weight_B1).sum(axes)
    squares = ((a_BK.square() + b_BK.square()) * weight_B1).sum(axes)  # so that equal probabilities agree, certain or not
    return 1 - ((2 * common + _SMOOTH) / (squares + _SMOOTH)).mean()


def _warped(layers_1C: torch.Tensor, matrix: np.ndarray) -> torch.Tensor:
    """Layers (1, C, *space) at `matrix` times the offset from the centre, in voxels; zeros outside."""
    size = np.array(layers_1C.shape[2:], float)
    to_unit = (matrix * size[None, :] / size[:, None])[::-1, ::-1].copy()
    theta = F.pad(torch.from_numpy(to_unit).float(), (0, 1))[None].to(layers_1C.device)
    grid = F.affine_grid(theta, [1, 1, *layers_1C.shape[2:]], align_corners=False)
    return F.grid_sample(layers_1C, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
