"""What is written of explanations: maps with their controls, occlusions with their effects, and sentences on both.

A map passes where both controls do (Adebayo et al. 2018; Samek et al. 2017):

    deletion   deleting its strongest voxels lowers the probability of the target more than deleting as many, of the same
               pattern, elsewhere: the interval of the area between both curves lies above 0.01, a difference that does not
               matter
    weights    the map of the network with shuffled weights is another: rank correlation below 0.3, among voxels at the
               same distance from the target
"""

from collections.abc import Sequence
from typing import Literal

from autoseg.base.version import __version__
from autoseg.evaluation.statistics import MARGIN, BootstrapMean
from planners.schema.base import Frozen, versioned

LARGEST_CORRELATION = 0.3

Method = Literal["gradcam", "smoothgrad", "rollout", "fusion_attention", "tokens_attention", "occlusion"]
TITLES: dict[Method, str] = {
    "gradcam": "Seg-Grad-CAM", "smoothgrad": "SmoothGrad", "rollout": "attention rollout",
    "fusion_attention": "attention of the fusion", "tokens_attention": "attention to conditions", "occlusion": "occlusion"}
QUALITATIVE = "Qualitative: attention says what was read, not what decided."
EXPLANATIONS = "explanations.json"


class Deletion(Frozen):
    """The deletion curve of a map.

    `shares` of the voxels in the tiles that hold the target (of all present channels, where the map has channels) take the
    values of random voxels of their channel: those where the map is largest, as far as it is above 0, and, several times,
    the same pattern at a random place. `kept` is the mean probability of the target afterwards, over that before;
    `kept_at_random` the mean over the random places. `area` is the mean over shares of their difference, over the random
    places, with its interval: above 0 where the map finds what counts.
    """

    shares: tuple[float, ...]
    kept: tuple[float, ...]
    kept_at_random: tuple[float, ...]
    area: BootstrapMean


class Shuffled(Frozen):
    """The rank correlation of a map with that of the network of which all weights from the output up to `until` are
    shuffled, among voxels at the same distance from the target; 0 where one of the maps is the same at all of them.
    """

    until: str
    correlation: float


class MapRecord(Frozen):
    """One map: of which label (empty: of none), by what method, and what its controls say.

    `channels` names what the file holds along its first axis; `shares` is what each has of the sum of the map. `passed` is
    None where there is no control.
    """

    label: str = ""
    method: Method
    layer: str = ""
    target: str = ""
    file: str
    picture: str = ""
    channels: tuple[str, ...] = ()
    shares: tuple[float, ...] = ()
    deletion: Deletion | None = None
    shuffled: tuple[Shuffled, ...] = ()
    passed: bool | None = None
    sentence: str

    @property
    def title(self) -> str:
        words = [TITLES[self.method], f"of {self.label}" if self.label else "", f"({self.layer})" if self.layer else ""]
        return " ".join(word for word in words if word)


class Effect(Frozen):
    """What the prediction of a label is without an input, and was with it: its volume, and its Dice where the case has a
    label (None: it has none, or the Dice is not defined).
    """

    label: str
    volume_ml: float
    volume_ml_before: float
    dice: float | None = None
    dice_before: float | None = None

    @property
    def change_ml(self) -> float:
        """What is withheld takes this much away, if it is below 0."""
        return self.volume_ml - self.volume_ml_before


class Occlusion(Frozen):
    """The effects of withholding one input: a channel, a column (vector, token bag), a predicted component, or a block of
    the image, whose place `name` gives in voxels of the prepared grid.
    """

    kind: Literal["channel", "column", "component", "block"]
    name: str
    effects: tuple[Effect, ...]


class CaseExplanation(Frozen):
    """All maps and occlusions of a case. `remarks` say what was not done, and why."""

    case: str
    maps: tuple[MapRecord, ...] = ()
    occlusions: tuple[Occlusion, ...] = ()
    remarks: tuple[str, ...] = ()


class Explanations(Frozen):
    """Explanations of one fold of a model; `models` is the digest of its weights. Files lie beside this one."""

    schema_version: int = versioned(1)
    autoseg_version: str = __version__
    dataset: str
    planner: str
    configuration: str
    fold: str
    models: str
    seed: int
    samples: int
    draws: int
    cases: tuple[CaseExplanation, ...] = ()


def verdict_of(deletion: Deletion, shuffled: Sequence[Shuffled]) -> tuple[bool, str]:
    """Whether a map passed its controls, and the sentence that says it."""
    area, correlation = deletion.area, shuffled[-1].correlation
    deletes = area.low is not None and area.low > MARGIN
    changes = correlation < LARGEST_CORRELATION
    interval = "" if area.low is None or area.high is None else f", 95 % {area.low:.2f} to {area.high:.2f}"
    measured = (f"area between the deletion curves {area.mean or 0:.2f}{interval}; rank correlation with the map of "
                f"shuffled weights {correlation:.2f}")
    if deletes and changes:
        return True, f"Passed its controls: {measured}."
    faults = [] if deletes else ["deleting its strongest voxels does hardly more than deleting others"]
    faults += [] if changes else ["a network of shuffled weights gives much the same map"]
    return False, f"FAILED its controls, do not read it as a reason: {' and '.join(faults)} ({measured})."
