"""What reading the cases of a dataset takes, from the headers of the largest files."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from autoseg.base.errors import AutosegError
from autoseg.formats import read_header
from autoseg.formats.files import file_bytes

# The largest files hold the most voxels, or nearly: an image of zeros packs well.
_LOOKED_AT = 16


def most_voxels(paths: Iterable[Path | None]) -> int:
    """Voxels of the largest of some files, as far as their headers can be read."""
    largest = sorted((path for path in paths if path is not None), key=file_bytes, reverse=True)[:_LOOKED_AT]
    return max((_voxels(path) for path in largest), default=0)


def _voxels(path: Path) -> int:
    try:
        header = read_header(path)
    except (AutosegError, OSError):
        return 0  # whoever reads the file says what is wrong with it
    return int(np.prod(header.geometry.shape, dtype=np.int64)) * header.n_channels
