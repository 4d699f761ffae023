"""A multilayer perceptron on all blocks beside each other. N counts cases, F features, O outputs."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from autoseg.outcome.design import fit_design, restored_design
from autoseg.outcome.fitted import Blocks, Columns, FittedHeader, joined
from autoseg.outcome.imputation import by_median
from autoseg.outcome.models import KINDS, OUTCOME_MODELS, ModelContext
from autoseg.outcome.models.network import NetworkModel, Training
from planners.schema.base import Frozen

BLOCKS = ("clinical", "volume", "shape", "radiomics", "embedding", "vectors", "tokens")
_INNER_FOLDS = 3  # a training takes seconds


class MlpOptions(Frozen):
    """`epochs` are tried, from the most cautious on; `width` and `dropout` are those of the hidden layer, `rate` and `decay`
    of AdamW. Discrete hazards have so many `intervals` of time.
    """

    epochs: tuple[int, ...] = (10, 25, 60)
    width: int = 64
    dropout: float = 0.3
    rate: float = 3e-3
    decay: float = 1e-2
    intervals: int = 8


class Mlp(nn.Module):
    """One hidden layer, normalised after its weights: before them one feature alone would vanish.  (N, F) -> (N, O)"""

    def __init__(self, n_features: int, n_outputs: int, options: MlpOptions):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(n_features, options.width), nn.LayerNorm(options.width), nn.ReLU(),
                                    nn.Dropout(options.dropout))
        self.output = nn.Linear(options.width, n_outputs)

    def forward(self, x_NF: torch.Tensor) -> torch.Tensor:
        return self.output(self.hidden(x_NF))


@OUTCOME_MODELS.register("mlp", MlpOptions, blocks=BLOCKS, kinds=KINDS)
def mlp(options: MlpOptions, context: ModelContext) -> NetworkModel:
    """For survival by Cox's partial likelihood over cases, else by cross-entropy or squared error."""
    return _model(options, context, None)


@OUTCOME_MODELS.register("hazards", MlpOptions, blocks=BLOCKS, kinds=("survival",))
def hazards(options: MlpOptions, context: ModelContext) -> NetworkModel:
    """A logistic hazard in each interval of time, which assumes no proportional hazards."""
    return _model(options, context, options.intervals)


def _model(options: MlpOptions, context: ModelContext, n_intervals: int | None) -> NetworkModel:
    def build(header: FittedHeader) -> Mlp:
        return Mlp(header.details["channels"], header.details["outputs"], options)

    training = Training(options.epochs, options.rate, options.decay, context.device)
    return NetworkModel(options, BLOCKS, _fit_inputs, _inputs, build, training, n_intervals, n_used=_INNER_FOLDS)


def _fit_inputs(blocks: Blocks, columns: Sequence[Columns]) -> dict[str, np.ndarray]:
    """Medians for missing values, indicators of them, and standard deviations."""
    values_NF = joined(blocks, columns)
    return fit_design(values_NF, by_median(values_NF), indicators=True)[0].arrays()


def _inputs(blocks: Blocks, header: FittedHeader, fitted: Mapping[str, np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(restored_design(fitted)(joined(blocks, header.columns))[0]).float()
