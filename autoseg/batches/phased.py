"""Batches whose size changes with the phases of a training."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from autoseg.batches.batch import Batch
from autoseg.batches.loader import BatchStream


class PhasedStream:
    """The batches of one phase after those of another, each from a stream of its own: a continuation of the one before.

    All streams have states of the same form, and one state says where to go on in any of them. What a stream has read
    ahead is given back when the phase changes, so that the change comes with the very batch for which it is asked.
    """

    def __init__(self, streams: Sequence[BatchStream]):
        self._streams = streams
        self._phase = 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        return next(self._streams[self._phase])

    def turn_to(self, phase: int) -> bool:
        """Let the next batch be of this phase, numbered from 0; whether that is another one."""
        if phase == self._phase:
            return False
        state = self.state_dict()
        self.close()
        self._phase = phase
        self.load_state_dict(state)
        return True

    def state_dict(self) -> dict[str, Any]:
        """That of a `BatchStream`. Which phase it is of, the iteration says."""
        return self._streams[self._phase].state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue as the stream that gave `state` would have, in the phase of now."""
        self._streams[self._phase].load_state_dict(state)

    def close(self) -> None:
        """End the thread that reads ahead; the next batch is again the one after the last handed out."""
        self._streams[self._phase].close()
