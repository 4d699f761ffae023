"""The forward passes of a case, and the sum of their weighted logits."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch

from autoseg.prediction.memory_plan import PredictionMemory, rows_pay
from autoseg.prediction.tiles import Tile, Tiling, coarse

Axes = tuple[int, ...]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Work:
    """All forward passes of a case: every tile, mirrored in every memory_plan.

    `network(tiles (B, C, d, h, w), axes of each)` gives logits (B, K, d, h, w). With `maybe`, which says of logits
    (K, ...) where (...) they may mean more than background, only tiles of which a coarse look says so are predicted
    in every memory_plan.
    """

    network: Callable[[torch.Tensor, Sequence[Axes]], torch.Tensor]
    device: torch.device
    image_CDHW: torch.Tensor  # padded
    tiling: Tiling
    flips: tuple[Axes, ...]
    maybe: Callable[[torch.Tensor], torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self.tiling) * len(self.flips)


def collect(work: Work, at_once: int, place: torch.device, memory: PredictionMemory, progress: Progress) -> torch.Tensor:
    """Logits (K, D, H, W) of the padded image."""
    with torch.inference_mode():
        if work.maybe is None:
            total = _Total(work, at_once, place, memory, progress)
            total.add((tile, flip) for tile in work.tiling for flip in work.flips)
            return total.finished()
        return _coarse_then_fine(work, _Total(work, at_once, place, memory, progress))


def _coarse_then_fine(work: Work, total: "_Total") -> torch.Tensor:
    """Few tiles without mirroring first, then whatever overlaps something suspicious in every memory_plan.

    Every pass weighs alike. Where not all of them are done their weights do not add up to one, so they are divided by.
    """
    plain, *mirrored = work.flips
    suspects_DHW = torch.zeros(work.image_CDHW.shape[1:], dtype=torch.bool)
    first = coarse(work.tiling)

    def look(tile: Tile, logits_KDHW: torch.Tensor) -> None:
        suspects_DHW[tile.window] |= work.maybe(logits_KDHW).cpu()

    total.add(((tile, plain) for tile in first), look)
    seen = {tile.start for tile in first}
    fine = [tile for tile in work.tiling if bool(suspects_DHW[tile.window].any())]
    total.add((tile, flip) for tile in fine
              for flip in (mirrored if tile.start in seen else work.flips))
    weight_DHW = torch.zeros(work.image_CDHW.shape[1:], device=total.logits.device)
    for tiles, n in ((first, 1), (fine, len(work.flips))):
        for tile in tiles:
            done = n - (tiles is fine and tile.start in seen)
            weight_DHW[tile.window] += tile.weight_DHW(weight_DHW.device) * (done / len(work.flips))
    for head_DHW in total.logits:
        head_DHW /= weight_DHW
    total.progress(len(work), len(work))
    return total.logits


class _Total:
    """The weighted sum of logits. All copies of a tile are added up before they are weighted: one addition a tile.

    Logits in half precision are rounded once, unless the memory is too short even for that: rows that tiles still add to are
    summed in float32. Tiles then come in the order of their first rows.
    """

    def __init__(self, work: Work, at_once: int, place: torch.device, memory: PredictionMemory, progress: Progress):
        self._work, self._at_once, self._place, self._room, self.progress = work, at_once, place, memory, progress
        self._image = work.image_CDHW.to(place)
        self._done = 0
        self.logits: torch.Tensor | None = None
        self._rows: _Rows | None = None

    def add(self, passes: Iterator[tuple[Tile, Axes]],
            look: Callable[[Tile, torch.Tensor], None] = lambda tile, logits: None) -> None:
        """Predict and add; `look` sees the logits of every pass."""
        current, copies_KDHW = None, None
        while batch := list(islice(passes, self._at_once)):
            tiles = torch.stack([self._image[(slice(None), *tile.window)] for tile, _ in batch])
            predicted = self._work.network(tiles.to(self._work.device), [flip for _, flip in batch])
            for (tile, _), one_KDHW in zip(batch, predicted.to(self._place), strict=True):
                look(tile, one_KDHW)
                if current is tile:
                    copies_KDHW += one_KDHW
                    continue
                if current is not None:
                    self._weigh(current, copies_KDHW)
                current, copies_KDHW = tile, one_KDHW
            self._done += len(batch)
            self.progress(self._done, len(self._work))
        if current is not None:
            self._weigh(current, copies_KDHW)

    def _weigh(self, tile: Tile, copies_KDHW: torch.Tensor) -> None:
        if self.logits is None:
            depth = self._work.tiling.size[0]
            self.logits = self._room.logits(len(copies_KDHW), self._image.shape[1:], self._place, depth=depth,
                                            exact=self._work.maybe is not None)
            if self.logits.dtype == torch.float16 and rows_pay(depth, self._image.shape[1:]):
                self._rows = _Rows(self.logits, depth)
        weighted_KDHW = (copies_KDHW * (tile.weight_DHW(self._place) / len(self._work.flips))).to(self.logits.device)
        if self._rows is None:
            self.logits[(slice(None), *tile.window)] += weighted_KDHW
        else:
            self._rows.add(tile.window, weighted_KDHW)

    def finished(self) -> torch.Tensor:
        """The logits of all that was added."""
        if self._rows is not None:
            self._rows.close(self.logits.shape[1])
        return self.logits


class _Rows:
    """Sums values in float32 along the first axis of space, and writes each row in half precision when it is complete."""

    def __init__(self, complete_KDHW: torch.Tensor, depth: int):
        self._complete = complete_KDHW
        heads, _, height, width = complete_KDHW.shape
        self._open_KDHW = torch.zeros(heads, depth, height, width, device=complete_KDHW.device)
        self._first = 0  # row of the image that the first open one is

    def add(self, window: tuple[slice, slice, slice], values_KDHW: torch.Tensor) -> None:
        """`values` of as many rows as are open; what comes later begins at the same row or after it."""
        rows, y, x = window
        self.close(rows.start)
        self._open_KDHW[:, :, y, x] += values_KDHW

    def close(self, until: int) -> None:
        """Rows before `until` are complete."""
        depth = self._open_KDHW.shape[1]
        done = min(until - self._first, depth)
        if done <= 0:
            return
        for complete_DHW, open_DHW in zip(self._complete, self._open_KDHW, strict=True):
            complete_DHW[self._first:self._first + done] = open_DHW[:done]
            open_DHW[:depth - done] = open_DHW[done:].clone()
            open_DHW[depth - done:] = 0
        self._first += done
