"""What a training learns. A `Task` is all that the training loop knows of segmentation."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import nn

from autoseg.base.runtime import Runtime
from autoseg.batches.batch import Batch
from autoseg.batches.loader import BatchStream
from autoseg.batches.store import CaseStore
from autoseg.clinical.encoded import Layout
from planners.schema.plan import Configuration

TaskLoss = Callable[[Any, Batch], torch.Tensor]  # what the model returned, and the batch that it saw


@dataclass(frozen=True)
class EpochScore:
    """How good a model is after an epoch: `record` goes into the metrics file, `text` is shown beside the progress bar."""

    record: Mapping[str, Any]
    text: str = ""


class Task(Protocol):
    """Targets, heads, loss and epoch score of a training."""

    def build_model(self, layout: Layout) -> nn.Module:
        """The untrained model with its heads, for conditions of a layout.

        It is called with the image of a batch, `present_BC`, `conditions` and `absent_BCDHW`.
        """
        ...

    def batches(self, store: CaseStore, configuration: Configuration, seed: int, device: torch.device, layout: Layout
                ) -> BatchStream:
        """Batches with their targets. `configuration` says how they are sampled and augmented."""
        ...

    def build_loss(self, device: torch.device) -> TaskLoss: ...

    def score(self, model: nn.Module, batches: Iterator[Batch] | None, count: int, runtime: Runtime) -> EpochScore:
        """The score of a model on `count` batches of the validation cases; `batches` is None where there are none."""
        ...

    def watch(self) -> Callable[[EpochScore, float], str]:
        """A function for one training that takes the score of each epoch and the share of the training that is done.

        It returns a warning, or an empty string.
        """
        ...
