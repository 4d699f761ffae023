"""Encoded conditions: of one patient as NumPy arrays, of a batch as tensors, and the layout of both.

K encoded values of all columns and vectors together, T tokens of a bag with E features each, B samples of a batch.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn.utils.rnn import pad_sequence

from planners.schema.base import Frozen


class ConditionInput(Frozen):
    """One input of a model beside the images.

    A column or vector is the entries `start` to `start + width` of the encoded values; a token bag (`start` None) has
    `width` features per token.
    """

    name: str
    width: int
    start: int | None = None

    @property
    def entries(self) -> slice | None:
        """Where a column or vector lies among the encoded values; None: this is a token bag."""
        return None if self.start is None else slice(self.start, self.start + self.width)


class Layout(Frozen):
    """The inputs of a model beside the images, in order."""

    inputs: tuple[ConditionInput, ...] = ()

    @property
    def n_values(self) -> int:
        """Encoded values of all columns and vectors together."""
        return sum(item.width for item in self.inputs if item.entries is not None)

    @property
    def bags(self) -> tuple[ConditionInput, ...]:
        """The inputs that are bags of tokens."""
        return tuple(item for item in self.inputs if item.entries is None)


NO_CONDITIONS = Layout()


@dataclass(frozen=True)
class EncodedBag:
    """The tokens of one bag of a patient (float32), and which of them are known (bool)."""

    tokens_TE: np.ndarray
    known_T: np.ndarray


@dataclass(frozen=True)
class EncodedConditions:
    """What is known of one patient: values of all columns and vectors (float32), which are known (bool), bags by name."""

    values_K: np.ndarray
    known_K: np.ndarray
    bags: Mapping[str, EncodedBag] = field(default_factory=dict)

    def knows(self, item: ConditionInput) -> bool:
        """Whether anything of an input is known."""
        known = self.bags[item.name].known_T if item.entries is None else self.known_K[item.entries]
        return bool(known.any())


@dataclass(frozen=True)
class BagBatch:
    """One token bag of every sample, padded to the longest by tokens that are not known."""

    tokens_BTE: torch.Tensor
    known_BT: torch.Tensor


@dataclass(frozen=True)
class ConditionBatch:
    """The encoded conditions of a batch. What is not known may hold anything: nobody reads it."""

    values_BK: torch.Tensor
    known_BK: torch.Tensor
    bags: Mapping[str, BagBatch] = field(default_factory=dict)

    def map(self, change: Callable[[torch.Tensor], torch.Tensor]) -> "ConditionBatch":
        """The batch with every tensor changed."""
        return ConditionBatch(change(self.values_BK), change(self.known_BK), {
            name: BagBatch(change(bag.tokens_BTE), change(bag.known_BT)) for name, bag in self.bags.items()})

    def to(self, device: torch.device | str) -> "ConditionBatch":
        """The batch on another device; copies from pinned memory do not wait."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=True))

    def tensors(self) -> Iterator[torch.Tensor]:
        """Every tensor, in the order of the layout."""
        yield from (self.values_BK, self.known_BK)
        for bag in self.bags.values():
            yield from (bag.tokens_BTE, bag.known_BT)


def collate(encoded: Sequence[EncodedConditions]) -> ConditionBatch:
    """Encoded patients as one batch."""
    def padded(arrays: list[np.ndarray]) -> torch.Tensor:
        return pad_sequence([torch.from_numpy(array) for array in arrays], batch_first=True)

    bags = {name: BagBatch(padded([patient.bags[name].tokens_TE for patient in encoded]),
                           padded([patient.bags[name].known_T for patient in encoded])) for name in encoded[0].bags}
    return ConditionBatch(padded([patient.values_K for patient in encoded]),
                          padded([patient.known_K for patient in encoded]), bags)
