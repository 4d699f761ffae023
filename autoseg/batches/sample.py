"""Where patches lie: in random cases, a share of them on foreground, on small lesions as often as on large ones; cases and
classes that weigh more are drawn more often."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from autoseg.batches.batch import Batch, padding_label
from autoseg.batches.store import CaseStore, StoredCase
from autoseg.clinical.encoded import collate
from planners.schema.labels import LabelSpec
from planners.schema.plan import Configuration

_VIEWS = "views"  # in the state of a sampler that counts them


@dataclass(frozen=True)
class PatchLocation:
    """Where a patch lies: in which case, and its first voxel, which may be outside of the image; the number of this view of
    the case, where views are counted.
    """

    case: StoredCase
    start: tuple[int, ...]
    view: int | None = None


class PatchSampler:
    """An endless sequence of batches of patches of size `patch`; all its state is one random generator, and how often each
    case was seen where the configuration mirrors views in turn.

    `patch` is what the augmentation asks for and may exceed the configuration's, which is its centre. A 2D
    patch is a slice along the first axis. Voxels outside an image are 0 and not absent, their label is that of
    `padding_label`. What is absent or of a missing channel is 0 whatever the case has there.
    """

    def __init__(self, store: CaseStore, configuration: Configuration, labels: LabelSpec,
                 patch: tuple[int, ...], generator: np.random.Generator):
        self._store = store
        self._labels = labels
        self._flat = len(patch) == 2
        self._patch = (1, *patch) if self._flat else tuple(patch)
        self._final = (1, *configuration.patch) if self._flat else tuple(configuration.patch)
        self._batch = configuration.batch
        self._share = configuration.schedule.foreground_share
        self._previous = tuple(labels.names[name] for name in labels.foreground) if configuration.previous else ()
        self._case_weights = [case.weight for case in store.cases]
        self._class_weights = configuration.class_weights
        self._generator = generator
        self._views: list[int] | None = None
        if configuration.mirror_views == "alternating":  # each case begins somewhere in the turn
            forms = 2 ** len(configuration.mirror_axes)
            self._views = generator.integers(forms, size=len(store.cases)).tolist()

    def get_state(self) -> Mapping[str, Any]:
        """Plain values; `set_state` continues the sequence from there."""
        state = self._generator.bit_generator.state
        return state if self._views is None else {**state, _VIEWS: list(self._views)}

    def set_state(self, state: Mapping[str, Any]) -> None:
        self._generator.bit_generator.state = {key: value for key, value in state.items() if key != _VIEWS}
        if self._views is not None:
            self._views = list(state[_VIEWS])

    def draw(self) -> Batch:
        """The next batch: on the store's device if it is resident, else on the CPU."""
        return self._read([self._draw_location(foreground) for foreground in self._foreground_of_samples()])

    def _foreground_of_samples(self) -> list[bool]:
        # nnU-Net's rule: the last samples of a batch, or each by chance where the share rounds to no sample at all.
        n_random = round(self._batch * (1 - self._share))
        if n_random == self._batch:
            return (self._generator.random(self._batch) < self._share).tolist()
        return [sample >= n_random for sample in range(self._batch)]

    def _draw_location(self, foreground: bool) -> PatchLocation:
        number = self._drawn(self._case_weights)
        case, view = self._store.cases[number], self._viewed(number)
        classes = self._classes(case, foreground)
        first, last = _bounds(case.shape, self._patch, self._final)
        if not classes:
            return PatchLocation(case, tuple(self._generator.integers(first, last + 1).tolist()), view)
        index = case.index[classes[self._drawn([self._class_weights.get(name, 1.0) for name in classes])]]
        lesion = self._generator.integers(index.n_lesions)
        voxel = index.voxels[self._generator.integers(index.starts[lesion], index.starts[lesion + 1])]
        start = np.clip(voxel - np.array(self._patch) // 2, first, last)
        return PatchLocation(case, tuple(start.tolist()), view)

    def _viewed(self, case: int) -> int | None:
        """Count one more view of a case; its number, if views are counted."""
        if self._views is None:
            return None
        self._views[case] += 1
        return self._views[case]

    def _drawn(self, weights: Sequence[float]) -> int:
        """A position, as often as its weight says. Equal weights take one draw, as they did before there were weights."""
        if min(weights) == max(weights):
            return int(self._generator.integers(len(weights)))
        return int(self._generator.choice(len(weights), p=np.divide(weights, sum(weights))))

    def _classes(self, case: StoredCase, foreground: bool) -> list[str]:
        """Names to choose a voxel from; none: the patch lies anywhere.

        With an ignore label a patch anywhere may hold nothing to learn from, so every patch has an annotated voxel: of
        the names in the index that are no foreground (background, or all that is annotated) if there are any.
        """
        named = [name for name in self._labels.foreground if name in case.index]
        if self._labels.ignore is None or (foreground and named):
            return named if foreground else []
        return [name for name in case.index if name not in named] or named

    def _read(self, locations: list[PatchLocation]) -> Batch:
        cases = [location.case for location in locations]
        batch = self._blank(cases)
        image, label, absent = batch.image_BCDHW, batch.label_BDHW, batch.absent_BCDHW
        n_channels = self._store.n_channels
        for sample, location in enumerate(locations):
            window, place = _windows(location, self._patch)
            patch = self._store.read(location.case, window)
            shown = patch.image_CDHW
            if absent is not None and patch.absent_CDHW is not None:
                absent[sample][(slice(None), *place)] = patch.absent_CDHW
                shown = shown.masked_fill(patch.absent_CDHW, 0.0)
            for channel in np.flatnonzero(location.case.present_C).tolist():
                image[sample, channel][place] = shown[channel]
            label[sample][place] = patch.label_DHW
            if patch.previous_DHW is not None:
                for channel, values in enumerate(self._previous, n_channels):
                    image[sample, channel][place] = _is_any_of(patch.previous_DHW, values).float()
        if self._flat:
            batch = replace(batch, image_BCDHW=image[:, :, 0], label_BDHW=label[:, 0],
                            absent_BCDHW=None if absent is None else absent[:, :, 0])
        views = tuple(location.view for location in locations if location.view is not None)
        return replace(self._described(batch, cases), views=views or None)

    def _blank(self, cases: list[StoredCase]) -> Batch:
        """A batch of padding, of three axes."""
        store, n_samples = self._store, len(cases)
        device = store.device if store.resident else torch.device("cpu")
        pinned = not store.resident and store.device.type == "cuda"
        image = torch.zeros((n_samples, store.n_channels + len(self._previous), *self._patch), device=device,
                            pin_memory=pinned)
        label = torch.full((n_samples, *self._patch), padding_label(self._labels), dtype=torch.int16, device=device,
                           pin_memory=pinned)
        present = torch.from_numpy(np.stack([case.present_C for case in cases])).to(device, non_blocking=True)
        absent = None
        if store.has_absent:
            absent = torch.zeros((n_samples, store.n_channels, *self._patch), dtype=torch.bool, device=device,
                                 pin_memory=pinned)
        return Batch(image, label, present, absent_BCDHW=absent)

    def _described(self, batch: Batch, cases: list[StoredCase]) -> Batch:
        """The batch with what is known of its cases beside arrays."""
        device = batch.image_BCDHW.device
        encoded = [case.conditions for case in cases if case.conditions is not None]
        conditions = collate(encoded).to(device) if encoded else None
        annotated = None
        if self._store.is_partial:
            every = (True,) * len(self._labels.foreground)
            annotated = torch.tensor([case.annotated_K or every for case in cases], dtype=torch.bool)
            annotated = annotated.to(device, non_blocking=True)
        return replace(batch, conditions=conditions, annotated_BK=annotated)


def _bounds(shape: tuple[int, ...], patch: tuple[int, ...], final: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """First and last start of a patch (nnU-Net's rule): its centre of size `final` stays inside the image.

    An axis that is shorter than the patch is padded on both sides. nnU-Net keeps foreground patches only from crossing
    the lower bound; here both hold, so that a lesion at the upper border is seen with as much of its surroundings.
    """
    sizes = np.array(patch)
    margin = np.maximum(sizes - np.array(final), sizes - np.array(shape))
    return -margin // 2, np.array(shape) - sizes + margin // 2 + margin % 2


def _windows(location: PatchLocation, patch: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Slices of the part of a patch that lies inside the image: in the image, and in the patch."""
    window, place = [], []
    for start, size, length in zip(location.start, patch, location.case.shape, strict=True):
        low, high = max(start, 0), min(start + size, length)
        window.append(slice(low, high))
        place.append(slice(low - start, high - start))
    return tuple(window), tuple(place)


def _is_any_of(label: torch.Tensor, values: tuple[int, ...]) -> torch.Tensor:
    mask = label == values[0]
    for value in values[1:]:
        mask = mask | (label == value)
    return mask
