"""Names that become names of files and folders: of cases, datasets, planners, configurations and folds.

They come from files that others made. A name is never a path: it leads to no other folder, on no system.
"""

import re
import sys
import unicodedata
from typing import Annotated

from pydantic import AfterValidator, StringConstraints

MOST_BYTES = 255  # of a file's name, in UTF-8: the limit of nearly all file systems
_MOST_BYTES_OF_NAME = 200  # a name gets endings, such as `_0000.displacement.npy`
_SEPARATORS = "/\\" if sys.platform != "win32" else '/\\<>:"|?*'
# Control characters, halves of characters that are no text, ends of lines, and marks that turn the direction of a text.
_CATEGORIES = {"Cc": "a control character", "Cs": "bytes that are not UTF-8", "Zl": "an end of a line",
               "Zp": "an end of a paragraph"}
_TURNS = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_DEVICES = re.compile(r"(?:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])\s*(?:\.|$)", re.IGNORECASE)
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def fault_of_name(name: str, most_bytes: int = _MOST_BYTES_OF_NAME) -> str:
    """What is wrong with a name, as in `it holds a separator of folders`; empty where nothing is.

    A name starts with neither a dot (such files are hidden) nor a hyphen (commands take them for options), and is not what
    Windows calls a device.
    """
    if not name:
        return "it is empty"
    if name.startswith((".", "-")):
        return f"it starts with {name[0]!r}"
    if any(separator in name for separator in _SEPARATORS):
        return "it holds a character that parts folders or that Windows refuses"
    if not _PLAIN.fullmatch(name):
        for character in name:
            found = "a mark that turns the text" if character in _TURNS else _CATEGORIES.get(unicodedata.category(character))
            if found is not None:
                return f"it holds {found}"
    if len(name.encode()) > most_bytes:
        return f"it is longer than {most_bytes} bytes"
    if _DEVICES.match(name):
        return "it is the name of a device of Windows"
    return ""


def _checked(name: str) -> str:
    fault = fault_of_name(name)
    if fault:
        raise ValueError(f"{name[:80]!r} cannot be a name: {fault}")
    return name


Name = Annotated[str, AfterValidator(_checked)]
# The ending of the files of a dataset, such as `.nii.gz`.
FileEnding = Annotated[str, StringConstraints(pattern=r"^(\.[A-Za-z0-9_]{1,16}){1,3}$")]
