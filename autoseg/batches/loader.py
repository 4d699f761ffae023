"""Augmented batches without end, that can be continued exactly where a run stopped."""

import queue
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from autoseg.base.ranks import ranks
from autoseg.batches.augment import UNKNOWN, ChannelTraits, augment, build_appearance, build_augmentation
from autoseg.batches.batch import Batch
from autoseg.batches.input_dropout import drop_inputs
from autoseg.batches.sample import PatchSampler
from autoseg.batches.store import CaseStore
from autoseg.clinical.encoded import NO_CONDITIONS, Layout
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration

# Batches of a streamed store that are read ahead: while one is used, one is ready and one is being read.
_PREFETCH = 2

_Drawn = tuple[Batch, Mapping[str, Any]]  # a batch, and the state of the sampler after it


def make_batches(store: CaseStore, configuration: Configuration, labels: LabelSpec, seed: int,
                 device: torch.device | str, layout: Layout = NO_CONDITIONS, traits: ChannelTraits = UNKNOWN,
                 planned_patch: tuple[int, ...] | None = None) -> "BatchStream":
    """Augmented batches of a configuration on `device`, with its input dropout; `layout` is of the conditions.

    `traits` are those of its channels; `planned_patch` is that of the plan in a phase of smaller ones.

    For batches without any change give a configuration whose `augmentation` is `Part(name="none")` and whose
    `input_dropout` is `InputDropout()`. Where several processes train together, each gets its part of the batch that one
    alone would get: random values are drawn per batch, so that every process draws and augments all of it.
    """
    part = ranks()
    input_dropout = configuration.input_dropout
    augmentation = build_augmentation(configuration.augmentation, configuration, labels, device, traits, planned_patch)
    appearance = build_appearance(configuration, labels, device, traits)
    sampling, augmenting = np.random.SeedSequence(seed).spawn(2)
    sampler = PatchSampler(store, configuration, labels, augmentation.initial_patch, np.random.default_rng(sampling))
    generator = torch.Generator().manual_seed(int(augmenting.generate_state(1, np.uint64)[0] >> 1))

    def change(batch: Batch, generator: torch.Generator) -> Batch:
        batch = augment(batch, augmentation, generator)
        for change_contrast in appearance:
            batch = change_contrast(batch, generator)
        whole = drop_inputs(batch, input_dropout, generator, layout)
        return whole if part.n == 1 else whole.part(part.rank, part.n)

    return BatchStream(sampler, change, generator, torch.device(device), prefetch=prefetched(store))


def prefetched(store: CaseStore) -> int:
    """How many batches are worth reading ahead: none from memory."""
    return 0 if store.resident else _PREFETCH


class BatchStream:
    """Iterates without end; every batch passes through `change`, which draws from `generator`.

    Where `prefetch` is not 0, a thread reads that many batches before they are asked for. The state is that of the last
    batch that was handed out: what was read ahead is read again after a resume.
    """

    def __init__(self, sampler: PatchSampler, change: Callable[[Batch, torch.Generator], Batch],
                 generator: torch.Generator, device: torch.device, *, prefetch: int):
        self._sampler = sampler
        self._change = change
        self._generator = generator
        self._device = device
        self._prefetch = prefetch
        self._state = sampler.get_state()
        self._reader: _Reader | None = None
        self._side: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self._side = torch.cuda.Stream(device)
            self._side.wait_stream(torch.cuda.current_stream(device))  # which may still be loading the cases

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        with torch.no_grad():
            return self._changed() if self._side is None else self._changed_on(self._side)

    def _changed(self) -> Batch:
        if not self._prefetch:
            batch, self._state = _draw(self._sampler)
        else:
            if self._reader is None:
                self._reader = _Reader(self._sampler, self._prefetch)
            batch, self._state = self._reader.next()
        return self._change(batch.to(self._device), self._generator)

    def _changed_on(self, side: torch.cuda.Stream) -> Batch:
        """The next batch, read, copied and augmented beside the step that the device is still busy with.

        The host asks for a batch while earlier steps are queued. On a stream of its own this waits for none of them.
        """
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(side):
            batch = self._changed()
        current.wait_stream(side)
        batch.record_stream(current)
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Plain values and a byte tensor."""
        return {"sampler": self._state, "augmentation": self._generator.get_state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue as the stream that gave `state` would have."""
        self.close()
        self._sampler.set_state(state["sampler"])
        self._generator.set_state(state["augmentation"])
        self._state = self._sampler.get_state()

    def close(self) -> None:
        """End the thread that reads ahead; the next batch is again the one after the last handed out."""
        if self._reader is not None:
            self._reader.stop()
            self._reader = None
            self._sampler.set_state(self._state)


class _Reader:
    """A thread that draws batches into a short queue."""

    def __init__(self, sampler: PatchSampler, prefetch: int):
        self._ready: queue.Queue[_Drawn | Exception] = queue.Queue(maxsize=prefetch)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=_read, args=(sampler, self._ready, self._stop), name="batches",
                                        daemon=True)
        self._thread.start()
        weakref.finalize(self, self._stop.set)

    def next(self) -> _Drawn:
        item = self._ready.get()
        if isinstance(item, Exception):
            self._ready.put(item)  # the thread has ended: whoever asks again gets the same answer
            raise item
        return item

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def _draw(sampler: PatchSampler) -> _Drawn:
    batch = sampler.draw()
    return batch, sampler.get_state()


def _read(sampler: PatchSampler, ready: queue.Queue[_Drawn | Exception], stop: threading.Event) -> None:
    while not stop.is_set():
        item: _Drawn | Exception
        try:
            item = _draw(sampler)
        except Exception as error:
            item = error
        while not stop.is_set():
            try:
                ready.put(item, timeout=0.2)
                break
            except queue.Full:
                continue
        if isinstance(item, Exception):
            return
