"""Opens arrays that blosc2 compressed, and nothing else that such a file may hold.

Versions of blosc2 before 4.14.1 execute Python that a file holds as a stored lazy expression, as soon as it is opened. They
are refused: models come from elsewhere, and so may their probabilities.
"""

from pathlib import Path
from typing import Any

from autoseg.base.errors import UserError

_SAFE = (4, 14, 1)


def open_array(path: Path, **storage: Any) -> Any:
    """The blosc2 array of a file, of which what is sliced is decompressed; `storage` says how the file is read.

    Raises UserError where the version of blosc2 would execute what the file holds, and ValueError for anything but an array
    of numbers: a proxy, an expression or a list of objects would be computed or deserialised.
    """
    import blosc2  # which takes a tenth of a second

    refuse_unsafe(blosc2.__version__)
    array = blosc2.open(str(path), mode="r", **storage)
    if type(array) is not blosc2.NDArray or array.dtype.kind not in "biuf":
        raise ValueError("the file does not hold an array of numbers")
    return array


def refuse_unsafe(version: str) -> None:
    """A UserError for a version of blosc2 that executes what files hold."""
    if tuple(int(word) for word in version.split(".")[:3] if word.isdecimal()) < _SAFE:
        raise UserError("this version of blosc2 executes code that files hold", where=f"blosc2 {version}",
                        expected=f"{'.'.join(map(str, _SAFE))} or later", do="pip install --upgrade blosc2")
