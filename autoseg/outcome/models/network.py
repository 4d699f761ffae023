"""Training of a small network on whole cases, and what is fitted then. N counts cases, O outputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from autoseg.outcome.fitted import (
    Blocks,
    Coefficient,
    Columns,
    FittedHeader,
    FittedState,
    categories_of,
    columns_of,
    kind_of,
)
from autoseg.outcome.inner import N_INNER, choose
from autoseg.outcome.models.heads import Head, answer, head_for
from autoseg.outcome.targets import Estimate, Target
from planners.schema.base import Frozen

_BATCH = 128  # cases of a batch; of fewer than twice as many all: a risk set needs many cases
_PREDICTED = 64  # cases at a time in prediction
_PARTS = ("fitted/", "weights/", "constants/")  # of what is written

# A batch and a generator -> the batch, changed at random.
Augment = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
# Blocks, the header that names their columns, and fitted arrays -> inputs (N, C, ...) float32.
Prepare = Callable[[Blocks, FittedHeader, Mapping[str, np.ndarray]], torch.Tensor]


@dataclass(frozen=True)
class Training:
    """`epochs`: after how many the network is kept, from the least on. `rate` and `decay` are those of AdamW (Loshchilov &
    Hutter 2019).
    """

    epochs: Sequence[int]
    rate: float
    decay: float
    device: str
    augment: Augment | None = None
    batch: int = _BATCH


def train(build: Callable[[], Any], inputs: torch.Tensor, head: Head, training: Training, seed: int
          ) -> list[dict[str, np.ndarray]]:
    """The weights after each of the numbers of epochs: the same for the same seed. No global generator is moved."""
    kept = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build()
        _start(network.output, head.start_O)
        network = network.to(training.device).train()
        generator = torch.Generator().manual_seed(seed)
        optimizer = torch.optim.AdamW(network.parameters(), lr=training.rate, weight_decay=training.decay)
        for epoch in range(1, max(training.epochs) + 1):
            for rows_B in torch.randperm(len(inputs), generator=generator).chunk(max(len(inputs) // training.batch, 1)):
                batch = inputs[rows_B]
                batch = batch if training.augment is None else training.augment(batch, generator)
                optimizer.zero_grad()
                head.loss(network(batch.to(training.device)), rows_B).backward()
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
            if epoch in training.epochs:
                kept.append({name: value.cpu().numpy().copy() for name, value in network.state_dict().items()})
    return kept


def _start(layer: nn.Linear, start_O: np.ndarray) -> None:
    """Before training the network answers what the null model does."""
    nn.init.zeros_(layer.weight)
    with torch.no_grad():
        layer.bias.copy_(torch.from_numpy(start_O))


def outputs(network: nn.Module, weights: Mapping[str, np.ndarray], inputs: torch.Tensor, device: str) -> np.ndarray:
    """The outputs of a network with these weights: (N, O) float64."""
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in weights.items()})
    network.to(device).eval()
    with torch.inference_mode():
        parts = [network(part.to(device)).cpu().double().numpy() for part in inputs.split(_PREDICTED)]
    return np.concatenate(parts)


@dataclass(frozen=True)
class FittedNetwork:
    """`prepare` turns blocks to the network's inputs by the arrays `fitted`; `build` makes the network of a header."""

    header: FittedHeader
    fitted: Mapping[str, np.ndarray]
    weights: Mapping[str, np.ndarray]
    constants: Mapping[str, np.ndarray]
    prepare: Prepare
    build: Callable[[FittedHeader], nn.Module]
    device: str

    def predict(self, blocks: Blocks) -> Estimate:
        inputs = self.prepare(blocks, self.header, self.fitted)
        return answer(self.header.details["head"], outputs(self.build(self.header), self.weights, inputs, self.device),
                      self.constants)

    def state(self) -> FittedState:
        parts = zip(_PARTS, (self.fitted, self.weights, self.constants), strict=True)
        return FittedState(self.header, {prefix + name: a for prefix, arrays in parts for name, a in arrays.items()})

    def coefficients(self) -> tuple[Coefficient, ...]:
        return ()


@dataclass(frozen=True)
class NetworkModel:
    """A network on some blocks; the number of epochs is chosen on `n_used` of the inner folds.

    `fit_inputs` fits the arrays by which `prepare` makes inputs. `build` makes a network, whose last layer is `output`, of a
    header with the details `channels` (of the inputs' second axis) and `outputs`. With `n_intervals` the head of survival
    has discrete hazards.
    """

    options: Frozen
    blocks: tuple[str, ...]
    fit_inputs: Callable[[Blocks, Sequence[Columns]], dict[str, np.ndarray]]
    prepare: Prepare
    build: Callable[[FittedHeader], nn.Module]
    training: Training
    n_intervals: int | None = None
    n_used: int = N_INNER

    def fit(self, blocks: Blocks, target: Target, seed: int) -> FittedNetwork:
        epochs = choose(self.training.epochs, self._fit_each, blocks, target, seed, self.n_used)
        return self._fit_each([epochs], blocks, target, seed)[0]

    def restore(self, state: FittedState) -> FittedNetwork:
        fitted, weights, constants = (_part_of(state, prefix) for prefix in _PARTS)
        return FittedNetwork(state.header, fitted, weights, constants, self.prepare, self.build, self.training.device)

    def _fit_each(self, epochs: Sequence[int], blocks: Blocks, target: Target, seed: int) -> list[FittedNetwork]:
        columns, head = columns_of(blocks, self.blocks), head_for(target, self.n_intervals)
        header = FittedHeader(kind=kind_of(target), columns=columns, categories=categories_of(target),
                              options=self.options.model_dump(mode="json"))
        fitted = self.fit_inputs(blocks, columns)
        inputs = self.prepare(blocks, header, fitted)
        details = {"head": head.name, "channels": inputs.shape[1], "outputs": len(head.start_O)}
        header = header.model_copy(update={"details": details})
        every = train(lambda: self.build(header), inputs, head, replace(self.training, epochs=epochs), seed)
        models = []
        for n, weights in zip(epochs, every, strict=True):
            constants = head.constants(outputs(self.build(header), weights, inputs, self.training.device))
            chosen = header.model_copy(update={"details": {**details, "epochs": n}})
            models.append(FittedNetwork(chosen, fitted, weights, constants, self.prepare, self.build, self.training.device))
        return models


def _part_of(state: FittedState, prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in state.arrays.items() if name.startswith(prefix)}
