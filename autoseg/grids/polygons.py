"""Masks of a slice as polygons, and polygons as masks. Points are (x, y) in pixels; a pixel's centre has whole coordinates.

A pixel belongs to polygons if its centre lies within an odd number of them, as planning systems fill contours. `outlines`
runs along the edges of pixels, half a pixel from every centre, so that `filled` gives back the same mask, and the same area.
"""

from collections.abc import Iterable

import numpy as np
import scipy

# Directions of an edge: +x, +y, -x, -y. The pixels of the mask lie at its right hand (y runs downwards).
_RIGHT_TURN_FIRST = (1, 0, 3)


def filled(polygons: Iterable[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """The mask (H, W; bool) of polygons (N, 2; x, y), each closed from its last point to its first.

    Even-odd: a polygon within another is a hole, and a channel that is walked there and back encloses nothing. A centre on
    an edge counts as inside at the left and upper side alone, so that two polygons with a common edge share no pixel.
    """
    height, width = shape
    flips = np.zeros((height, width + 1), np.int32)
    for polygon in polygons:
        (x0, y0), (x1, y1) = polygon.T, np.roll(polygon, -1, axis=0).T
        first = np.clip(np.ceil(np.minimum(y0, y1)), 0, height).astype(int)
        n_rows = np.clip(np.ceil(np.maximum(y0, y1)), 0, height).astype(int) - first
        edge = np.repeat(np.arange(len(polygon)), n_rows)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(n_rows) - n_rows, n_rows) + first[edge]
        crossing = x0[edge] + (row - y0[edge]) * (x1[edge] - x0[edge]) / (y1[edge] - y0[edge])
        np.add.at(flips, (row, np.clip(np.ceil(crossing), 0, width).astype(int)), 1)
    odd: np.ndarray = np.cumsum(flips, axis=1)[:, :width] % 2 == 1
    return odd


def outlines(mask_HW: np.ndarray) -> list[np.ndarray]:
    """One polygon (N, 2; x, y) for each island of a mask (pixels that share an edge); empty where the mask is.

    A hole is joined to the outline by a channel of no width ("keyhole", PS3.3 C.8.8.6.3): so that it is a hole too where
    polygons are united.
    """
    rows, columns = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
    if not len(rows):
        return []
    cut_HW = mask_HW[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]
    stride = cut_HW.shape[1] + 1  # corners of pixels are numbered row by row
    islands: dict[int, list[np.ndarray]] = {}
    for island, loop in _loops(cut_HW):
        islands.setdefault(island, []).append(loop)
    corner = np.array([columns[0], rows[0]]) - 0.5
    return [_without_straight(np.column_stack([joined % stride, joined // stride])) + corner
            for joined in (_joined(loops, stride) for loops in islands.values())]


def _loops(mask_HW: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Closed paths along the edges of pixels, as numbers of corners, and the island at the right hand of each.

    Where two pixels of the mask touch at a corner alone, a path turns right: they are two islands.
    """
    stride = mask_HW.shape[1] + 1
    n_corners = (mask_HW.shape[0] + 1) * stride
    padded = np.pad(mask_HW.astype(bool), 1)
    at = np.pad(scipy.ndimage.label(mask_HW)[0], 1)
    starts, islands = [], []
    for neighbour, corner in (((-1, 0), (0, 0)), ((0, 1), (0, 1)), ((1, 0), (1, 1)), ((0, -1), (1, 0))):
        y, x = np.nonzero(padded & ~np.roll(padded, (-neighbour[0], -neighbour[1]), (0, 1)))
        starts.append((y - 1 + corner[0]) * stride + x - 1 + corner[1])
        islands.append(at[y, x])
    direction = np.repeat(np.arange(4), [len(part) for part in starts])
    start, island = np.concatenate(starts), np.concatenate(islands)
    edge_at = np.full((4, n_corners), -1)
    edge_at[direction, start] = np.arange(len(start))
    end = start + np.array([1, stride, -1, -stride])[direction]
    options = np.array([edge_at[(direction + turn) % 4, end] for turn in _RIGHT_TURN_FIRST])
    following = options[(options >= 0).argmax(0), np.arange(len(start))].tolist()
    loops, is_new = [], [True] * len(start)
    for first in range(len(start)):
        path = []
        edge = first
        while is_new[edge]:
            is_new[edge] = False
            path.append(edge)
            edge = following[edge]
        if path:
            loops.append((int(island[first]), start[path]))
    return loops


def _joined(loops: list[np.ndarray], stride: int) -> np.ndarray:
    """The outline of an island with its holes in one path.

    From the leftmost corner of a hole one walks to the left until the path is met. Holes further left are part of it by
    then.
    """
    by_left = sorted(loops, key=lambda loop: int((loop % stride).min()))
    path = by_left[0].tolist()
    for hole in by_left[1:]:
        start = int((hole % stride).argmin())
        known, meeting = set(path), int(hole[start])
        while meeting not in known:
            meeting -= 1
        at = path.index(meeting)
        path[at + 1:at + 1] = [*hole[start:].tolist(), *hole[:start + 1].tolist(), meeting]
    return np.array(path)


def _without_straight(points_N2: np.ndarray) -> np.ndarray:
    """The points at which a path of unit steps, or of longer ones along an axis, changes its direction."""
    into = np.sign(points_N2 - np.roll(points_N2, 1, axis=0))
    onwards = np.sign(np.roll(points_N2, -1, axis=0) - points_N2)
    turns: np.ndarray = points_N2[(into != onwards).any(1)]
    return turns
