"""Pictures of tissue -> token bags: one row of features per tile, as `tokens/NAME/CASE.npy`.

Encoders are registered parts.
"""

from autoseg.preprocessing.tokens import pretrained, small  # noqa: F401  (they register themselves)
from autoseg.preprocessing.tokens.registry import TILE_ENCODERS, Tile, TileEncoder, TileEncoderContext

__all__ = ["TILE_ENCODERS", "Tile", "TileEncoder", "TileEncoderContext"]
