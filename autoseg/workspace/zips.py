"""What holds for every zip that comes from others: which entries are refused, and what its reader may raise."""

import stat
import struct
import zipfile
from collections.abc import Sequence

from planners.schema.names import fault_of_name

# What zipfile raises for a file that is no zip, or a damaged one: also of a name that is no UTF-8 and a wrong extra field.
NOT_A_ZIP = (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError, struct.error)


def fault_of_entry(entry: zipfile.ZipInfo, parts: Sequence[str]) -> str:
    """Why an entry is refused, as in `it is a link`; empty where it is not. `parts` are the names between its slashes.

    Newer versions of Python take the name from an extra field, if there is one (PKZIP APPNOTE 4.6.9): it must be the same.
    """
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "it is a link" if kind == stat.S_IFLNK else "it is no plain file"
    if entry.flag_bits & 1:
        return "it is encrypted"
    if entry.filename != entry.orig_filename:
        return "it has two names"
    fault = next((fault for part in parts if (fault := fault_of_name(part))), "")
    return fault and f"its path leads out of the archive or is no name: {fault}"
