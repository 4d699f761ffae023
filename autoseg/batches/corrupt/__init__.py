"""What pre-training hides or changes of an image, and the network has to restore."""

from autoseg.batches.corrupt import blocks, genesis  # noqa: F401  (they register themselves)
from autoseg.batches.corrupt.registry import CORRUPTIONS, Corruption
from autoseg.batches.corrupt.stream import make_reconstruction_batches

__all__ = ["CORRUPTIONS", "Corruption", "make_reconstruction_batches"]
