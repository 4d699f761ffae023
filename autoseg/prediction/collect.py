"""The forward passes of a case, and the sum of their weighted logits."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import torch

from autoseg.base.threads import side_by_side, threads_to_share
from autoseg.prediction.memory_plan import MemoryPlan, PredictionMemory, rows_pay
from autoseg.prediction.tiles import Tile, Tiling, coarse

Axes = tuple[int, ...]
Progress = Callable[[int, int], None]
_Pass = tuple[Tile, Axes]
_Batch = Sequence[_Pass]


@dataclass(frozen=True)
class Work:
    """All forward passes of a case: every tile, mirrored along every set of axes.

    `network(tiles (B, C, d, h, w), axes of each)` gives logits (B, K, d, h, w). With `maybe`, which says of logits
    (K, ...) where (...) they may mean more than background, a coarse pass comes first, and only tiles where it finds
    something are predicted with all mirrored copies.
    """

    network: Callable[[torch.Tensor, Sequence[Axes]], torch.Tensor]
    device: torch.device
    image_CDHW: torch.Tensor  # padded
    tiling: Tiling
    flips: tuple[Axes, ...]
    maybe: Callable[[torch.Tensor], torch.Tensor] | None = None

    def __len__(self) -> int:
        return len(self.tiling) * len(self.flips)


def collect(work: Work, memory_plan: MemoryPlan, memory: PredictionMemory, progress: Progress) -> torch.Tensor:
    """Logits (K, D, H, W) of the padded image."""
    with torch.inference_mode():
        total = _WeightedSum(work, memory_plan, memory, progress)
        if work.maybe is not None:
            return _coarse_then_fine(work, work.maybe, total)
        total.add((tile, flip) for tile in work.tiling for flip in work.flips)
        return total.finished()


def _coarse_then_fine(work: Work, maybe: Callable[[torch.Tensor], torch.Tensor], total: "_WeightedSum") -> torch.Tensor:
    """Few tiles without mirroring first, then all copies of every tile that overlaps something suspicious.

    Every pass weighs alike. Where not all of them are done their weights do not add up to one, so the sum is divided by
    them.
    """
    plain, *mirrored = work.flips
    suspects_DHW = torch.zeros(work.image_CDHW.shape[1:], dtype=torch.bool)
    first = coarse(work.tiling)

    def note_suspects(tile: Tile, logits_KDHW: torch.Tensor) -> None:
        suspects_DHW[tile.window] |= maybe(logits_KDHW).cpu()

    total.add(((tile, plain) for tile in first), note_suspects)
    seen = {tile.start for tile in first}
    fine = [tile for tile in work.tiling if bool(suspects_DHW[tile.window].any())]
    total.add((tile, flip) for tile in fine
              for flip in (mirrored if tile.start in seen else work.flips))
    logits_KDHW = total.finished()
    weight_DHW = torch.zeros(work.image_CDHW.shape[1:], device=logits_KDHW.device)
    for tiles, n in ((first, 1), (fine, len(work.flips))):
        for tile in tiles:
            done = n - (tiles is fine and tile.start in seen)
            weight_DHW[tile.window] += tile.weight_DHW(weight_DHW.device) * (done / len(work.flips))
    for head_DHW in logits_KDHW:
        head_DHW /= weight_DHW
    total.progress(len(work), len(work))
    return logits_KDHW


def _batches(passes: Iterator[_Pass], size: int) -> Iterator[_Batch]:
    while batch := list(islice(passes, size)):
        yield batch


class _WeightedSum:
    """The weighted sum of logits. All copies of a tile are added up before they are weighted: one addition per tile.

    Logits in half precision are rounded once, unless the memory is too short even for that: rows that tiles still add to are
    summed in float32. Tiles then come in the order of their first rows.
    """

    def __init__(self, work: Work, memory_plan: MemoryPlan, memory: PredictionMemory, progress: Progress):
        self._work, self._plan, self._memory, self.progress = work, memory_plan, memory, progress
        self._place = memory_plan.place
        self._image = work.image_CDHW.to(self._place)
        self._done = 0
        self._logits: torch.Tensor | None = None
        self._rows: _Rows | None = None

    def add(self, passes: Iterator[_Pass],
            on_pass: Callable[[Tile, torch.Tensor], None] = lambda tile, logits: None) -> None:
        """Predict and add; `on_pass` is called with the logits of every pass."""
        current: Tile | None = None
        copies_KDHW = torch.empty(0)
        with closing(self._in_rounds(list(_batches(passes, self._plan.at_once)))) as predicted:
            for batch, logits_BKDHW in predicted:
                for (tile, _), logits_KDHW in zip(batch, logits_BKDHW, strict=True):
                    on_pass(tile, logits_KDHW)
                    if current is tile:
                        copies_KDHW += logits_KDHW
                        continue
                    if current is not None:
                        self._weigh(current, copies_KDHW)
                    current, copies_KDHW = tile, logits_KDHW
                self._done += len(batch)
                self.progress(self._done, len(self._work))
        if current is not None:
            self._weigh(current, copies_KDHW)

    def _in_rounds(self, batches: Sequence[_Batch]) -> Generator[tuple[_Batch, torch.Tensor], None, None]:
        """The batches with their logits, in order. In each round as many as may be are predicted side by side; the fewer of
        the last round have more threads each.
        """
        full = len(batches) - len(batches) % self._plan.side_by_side
        for n, some in ((self._plan.side_by_side, batches[:full]), (len(batches) - full, batches[full:])):
            if n > 1 and some:
                with side_by_side(self._logits_of, some, n, threads_to_share() // n) as predicted:
                    yield from zip(some, predicted, strict=True)
            else:
                yield from ((batch, self._logits_of(batch)) for batch in some)

    def _logits_of(self, batch: _Batch) -> torch.Tensor:
        with torch.inference_mode():  # which each thread has to say
            tiles = torch.stack([self._image[(slice(None), *tile.window)] for tile, _ in batch])
            return self._work.network(tiles.to(self._work.device), [flip for _, flip in batch]).to(self._place)

    def _weigh(self, tile: Tile, copies_KDHW: torch.Tensor) -> None:
        if self._logits is None:
            self._logits = self._allocate(len(copies_KDHW))
        weighted_KDHW = (copies_KDHW * (tile.weight_DHW(self._place) / len(self._work.flips))).to(self._logits.device)
        if self._rows is None:
            self._logits[(slice(None), *tile.window)] += weighted_KDHW
        else:
            self._rows.add(tile.window, weighted_KDHW)

    def _allocate(self, n_heads: int) -> torch.Tensor:
        depth, shape = self._work.tiling.size[0], self._image.shape[1:]
        logits = self._memory.allocate(n_heads, shape, self._place, depth=depth, exact=self._work.maybe is not None)
        if logits.dtype == torch.float16 and rows_pay(depth, shape):
            self._rows = _Rows(logits, depth)
        return logits

    def finished(self) -> torch.Tensor:
        """The logits of all that was added."""
        if self._logits is None:
            raise ValueError("no tile was predicted")
        if self._rows is not None:
            self._rows.close(self._logits.shape[1])
        return self._logits


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
