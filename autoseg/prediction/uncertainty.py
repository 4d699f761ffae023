"""What the probabilities of several models say of a case whose truth is not known.

Everything is computed from levels of 1/255, as cross-validation keeps them, so that a new case is measured like the
cases on which the rule was learned (docs/decisions/0013-quality-control.md).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from pydantic import Field

from autoseg.evaluation.calibration import calibrated
from autoseg.formats.probabilities import LEVELS, levels_of, uncertain
from autoseg.grids.boxes import occupied
from autoseg.prediction.decision import decide_heads, decided, label_values
from autoseg.prediction.inference_settings import QualityControl
from planners.schema.base import Frozen, formerly, versioned
from planners.schema.labels import LabelSpec


class CaseQuality(Frozen):
    """What is known of a predicted case without its truth; None where it cannot be known."""

    name: str
    predicted_dice: float | None  # mean over the foreground, by the rule that was fitted in cross-validation
    fold_agreement: float | None  # mean Dice between the masks of every two models, before postprocessing
    # Whether a person should review the mask.
    needs_review: bool | None = Field(validation_alias=formerly("needs_review", "look"))


class QualityReport(Frozen):
    """`quality.json` beside the masks. `correlation` (Pearson, n cases) says how reliable predicted Dice is."""

    schema_version: int = versioned(1)
    review_below: float | None = Field(validation_alias=formerly("review_below", "look_below"))
    correlation: float | None
    n: int | None
    cases: tuple[CaseQuality, ...]


class ExpectedDice:
    """The Dice that a model's own mask would have if its probabilities were right; slabs are added one by one.

    Of a label with mask M and probabilities p: 2 sum_M p / (|M| + sum p), the ratio of the expected intersection to the
    expected size. An empty mask is right (Dice 1) if there is nothing, for which 1 - max p is taken. The probabilities are
    the model's own: a temperature raises those of all that is nearly background, which then outweighs the borders.
    """

    def __init__(self, labels: LabelSpec):
        self.labels = labels
        n = len(labels.foreground)
        self._inside, self._size, self._total, self._most = (np.zeros(n) for _ in range(4))

    def add(self, levels_KN: np.ndarray) -> None:
        """The levels (uint8) of voxels that are not background for certain."""
        if not levels_KN.shape[1]:
            return
        heads = self.labels.foreground if self.labels.has_regions else tuple(self.labels.names)
        masks_KN = decide_heads(levels_KN, self.labels.has_regions, threshold=LEVELS / 2)
        for index, name in enumerate(self.labels.foreground):
            head = heads.index(name)
            probability_N, mask_N = levels_KN[head] / np.float32(LEVELS), masks_KN[head]
            self._inside[index] += probability_N[mask_N].sum(dtype=np.float64)
            self._size[index] += np.count_nonzero(mask_N)
            self._total[index] += probability_N.sum(dtype=np.float64)
            self._most[index] = max(self._most[index], float(probability_N.max()))

    def value(self) -> float:
        """Mean over the foreground."""
        with np.errstate(invalid="ignore"):
            dice = 2 * self._inside / (self._size + self._total)
        return float(np.where(self._size > 0, dice, 1 - self._most).mean())


def expected_dice(levels_KDHW: np.ndarray, labels: LabelSpec) -> float:
    """`ExpectedDice` of levels (K, z, y, x; uint8) that are held as a whole."""
    expected = ExpectedDice(labels)
    expected.add(levels_KDHW[:, uncertain(levels_KDHW, labels.has_regions)])
    return expected.value()


def predicted_dice(quality_control: QualityControl, expected: Sequence[float]) -> float:
    """The rule of `quality_control` applied to the mean of the models' expected Dice."""
    return float(np.clip(quality_control.intercept + quality_control.slope * float(np.mean(expected)), 0, 1))


def entropy(probabilities_KX: np.ndarray, has_regions: bool) -> np.ndarray:
    """Entropy (X; float32) as a share of the largest possible: of the labels, or the mean of the regions' binary ones."""
    p = np.asarray(probabilities_KX, np.float32)
    if has_regions:
        return (_p_log_p(p) + _p_log_p(1 - p)).mean(0) / np.float32(np.log(2))
    return _p_log_p(p).sum(0) / np.float32(np.log(len(p)))


def agreement(masks: Sequence[np.ndarray], labels: LabelSpec) -> float | None:
    """Mean Dice between every two label maps, over the foreground names that either has.

    None of fewer than two maps. Of maps that are all empty 1.
    """
    if len(masks) < 2:
        return None
    used = np.any([mask != 0 for mask in masks], axis=0)
    if not used.any():
        return 1.0
    window = occupied(used)
    parts = [mask[window] for mask in masks]
    dice = []
    for name in labels.foreground:
        inside = [np.isin(part, labels.names[name]) for part in parts]
        sizes = [np.count_nonzero(mask) for mask in inside]
        dice += [2 * np.count_nonzero(inside[a] & inside[b]) / (sizes[a] + sizes[b])
                 for a, b in combinations(range(len(parts)), 2) if sizes[a] + sizes[b]]
    return float(np.mean(dice)) if dice else 1.0


class Votes:
    """What each model says of one case, collected slab by slab: expected Dice, masks, and with `images` two maps.

    `entropy` is that of the models' mean probability. `disagreement` is their mutual information with it, the entropy of
    the mean less the mean of the entropies (Houlsby et al. 2011; Smith and Gal 2018): what is uncertain because models
    differ, not because each is. Both are shares of the largest entropy, 0 to 1. Only the mean of all heads is held, as
    float16.
    """

    def __init__(self, labels: LabelSpec, shape: tuple[int, int, int], n_models: int, temperature: float, images: bool):
        self.labels, self.shape, self.temperature, self._share = labels, shape, temperature, 1 / n_models
        self.expected: list[float] = []
        self.masks: list[np.ndarray] = []
        self._maps = _Maps.zeros(labels.n_heads, shape) if images else None

    def add(self, slabs: Iterable[tuple[tuple[slice, slice, slice], np.ndarray]]) -> None:
        """One model's probabilities on the file's grid, a slab at a time: where it lies, and (K, d, h, w)."""
        expected, mask = ExpectedDice(self.labels), np.zeros(self.shape, label_values(self.labels).dtype)
        for window, slab in slabs:
            levels = levels_of(slab)
            uncertain_DHW = uncertain(levels, self.labels.has_regions)
            levels_KN = levels[:, uncertain_DHW]
            expected.add(levels_KN)
            mask[window] = decided(slab, self.labels)
            if self._maps is not None:
                probabilities_KN = calibrated(levels_KN, self.temperature, self.labels.has_regions)
                entropy_N = entropy(probabilities_KN, self.labels.has_regions)
                self._maps.mean_KDHW[(slice(None), *window)][:, uncertain_DHW] += (
                    probabilities_KN * self._share).astype(np.float16)
                self._maps.entropies_DHW[window][uncertain_DHW] += self._share * entropy_N
        self.expected.append(expected.value())
        self.masks.append(mask)

    def images(self) -> tuple[np.ndarray, np.ndarray]:
        """Entropy and disagreement (z, y, x; float32)."""
        if self._maps is None:
            raise ValueError("the votes were collected without images")
        total = np.zeros(self.shape, np.float32)
        for mean_KHW, out_HW in zip(self._maps.mean_KDHW.swapaxes(0, 1), total, strict=True):
            mean_KHW = mean_KHW.astype(np.float32)
            if not self.labels.has_regions:  # where a model was certain of background, nothing was added
                mean_KHW[0] += 1 - mean_KHW.sum(0)
            out_HW[:] = entropy(mean_KHW.clip(0, 1), self.labels.has_regions)
        return total, np.maximum(total - self._maps.entropies_DHW, 0)

    def quality(self, name: str, quality_control: QualityControl | None) -> CaseQuality:
        """What the models say of the case as a whole."""
        dice, needs_review = None, None
        if quality_control is not None:
            dice = predicted_dice(quality_control, self.expected)
            needs_review = dice < quality_control.review_below
        return CaseQuality(name=name, predicted_dice=dice, fold_agreement=agreement(self.masks, self.labels),
                           needs_review=needs_review)


@dataclass(frozen=True)
class _Maps:
    """Sums over the models: their mean probabilities, and the mean of their entropies."""

    mean_KDHW: np.ndarray
    entropies_DHW: np.ndarray

    @classmethod
    def zeros(cls, n_heads: int, shape: tuple[int, int, int]) -> "_Maps":
        return cls(np.zeros((n_heads, *shape), np.float16), np.zeros(shape, np.float32))


def _p_log_p(p: np.ndarray) -> np.ndarray:
    return -p * np.log(np.maximum(p, np.float32(1e-12)))
