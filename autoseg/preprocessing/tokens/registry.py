"""The registry of tile encoders. One is made by `factory(options, TileEncoderContext)`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from autoseg.grids.geometry import Geometry
from planners.registry import NoTraits, Registry


@dataclass(frozen=True)
class Tile:
    """A picture in colour: red, green and blue (3, 1, y, x) as float32 of 0 to 255, and its grid."""

    name: str
    image_CDHW: np.ndarray
    geometry: Geometry


class TileEncoder(Protocol):
    """Features (tiles, features) as float32, as many for every tile, whatever its size. Equal tiles have equal features."""

    def __call__(self, tiles: Sequence[Tile]) -> np.ndarray: ...


@dataclass(frozen=True)
class TileEncoderContext:
    """What an encoder is made for: the device on which it computes, such as `cpu` or `cuda:1`."""

    device: str


TileEncoderFactory = Callable[[Any, TileEncoderContext], TileEncoder]
TILE_ENCODERS: Registry[TileEncoderFactory, NoTraits] = Registry("tile encoder", NoTraits)
