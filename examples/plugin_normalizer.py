"""A normaliser of one's own, and the planner that chooses it.

Run in the folder of this file (any module that Python can import will do):

    autoseg_plan_and_preprocess -d 4 -p budgeted_robust --plugin plugin_normalizer
    autoseg_train 4 3d_fullres 0 -p budgeted_robust
    autoseg_predict -i imgs -o masks -p budgeted_robust --plugin plugin_normalizer

Cases are normalised when they are prepared, so that training alone does not need the plug-in; prediction does. A
normaliser is made by `factory(options, NormalizerContext)` and called with one channel (z, y, x) and where the case has
data. As this one does not say `near_one=True` where it is registered, what is stored of an image is not rounded.
"""

import numpy as np
from pydantic import Field

from autoseg.preprocessing.normalize import NORMALIZERS, NormalizerContext
from planners import PLANNERS
from planners.schema.base import Frozen, Part
from planners.schema.fingerprint import Fingerprint
from planners.schema.hardware import Budget, Hardware
from planners.schema.plan import Plan


class RobustOptions(Frozen):
    """Percentiles whose distance is the unit of the normalised image."""

    low: float = Field(default=25.0, ge=0, le=100)
    high: float = Field(default=75.0, ge=0, le=100)


@NORMALIZERS.register("robust", RobustOptions)
class Robust:
    """Median 0 and interquartile range 1 over the inside: a few extreme voxels change nothing."""

    def __init__(self, options: RobustOptions, context: NormalizerContext):
        self.percentiles = (options.low, 50, options.high)

    def __call__(self, image_DHW: np.ndarray, inside_DHW: np.ndarray) -> np.ndarray:
        image = image_DHW.astype(np.float32)
        values = image[inside_DHW] if inside_DHW.any() else image
        low, median, high = np.percentile(values, self.percentiles)
        spread = high - low if high > low else 1.0  # a constant channel becomes 0
        return (image - np.float32(median)) / np.float32(spread)


@PLANNERS.register("budgeted_robust")
def budgeted_robust(fingerprint: Fingerprint, hardware: Hardware, budget: Budget) -> Plan:
    """`budgeted`, with `robust` wherever it takes a z-score."""
    plan = PLANNERS.get("budgeted")(fingerprint, hardware, budget)
    configurations = {}
    for name, configuration in plan.configurations.items():
        parts = tuple(Part(name="robust") if part.name.startswith("zscore") else part
                      for part in configuration.normalizers)
        configurations[name] = configuration.model_copy(update={"normalizers": parts})
    reasons = (*plan.reasons, "normalised by robust wherever a z-score is named: a few extreme voxels change nothing")
    return plan.model_copy(update={"planner": "budgeted_robust", "configurations": configurations, "reasons": reasons})
