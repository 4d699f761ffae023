"""What nnU-Net wants to know of the grid of probabilities: `CASE.pkl`, a pickle of plain values. It is never read."""

import pickle  # nosec B403
from pathlib import Path

from autoseg.grids.geometry import Geometry
from autoseg.workspace.files import write_atomically


def write_properties(path: Path, geometry: Geometry) -> None:
    """Write the properties that `SimpleITKIO` of nnU-Net writes masks by (nnunetv2/imageio/simpleitk_reader_writer.py)."""
    n = geometry.dimensions
    direction = [[geometry.direction[3 * row + column] for column in range(n)] for row in range(n)]
    properties = {"sitk_stuff": {"spacing": tuple(float(mm) for mm in geometry.spacing_mm[::-1][:n]),
                                 "origin": tuple(float(mm) for mm in geometry.origin_mm[:n]),
                                 "direction": tuple(float(cosine) for row in direction for cosine in row)},
                  "spacing": [float(mm) for mm in geometry.spacing_mm]}
    content = pickle.dumps(properties, protocol=4)
    write_atomically(path, lambda temporary: temporary.write_bytes(content))
