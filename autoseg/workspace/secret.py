"""The secret of a workspace, by which names of patients become pseudonyms.

Without it a pseudonym cannot be traced by trying all patient numbers of a hospital. It lies in the workspace, never in a
dataset, and only its owner may read it.
"""

import os
import secrets
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.workspace.files import writing

_BYTES = 32
_LONGEST_LINE = 10_000  # characters


def pseudonym_key(path: Path) -> bytes:
    """The secret of a file (hexadecimal digits), which is made where it is missing. Raises UserError where it holds none."""
    if not path.exists():
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:  # another process was faster
                return read_key(path)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(f"{secrets.token_hex(_BYTES)}\n")
                file.flush()
                os.fsync(file.fileno())
    return read_key(path)


def read_key(path: Path) -> bytes:
    """The secret of a file. Raises UserError where it is missing or holds none."""
    try:
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except (OSError, ValueError) as error:
        raise UserError("the secret of the pseudonyms cannot be read", where=path, found=error) from None
    if len(key) != _BYTES:
        raise UserError("the secret of the pseudonyms has another length", where=path, found=f"{len(key)} bytes",
                        expected=f"{_BYTES}, in hexadecimal digits",
                        do="copy it again from the workspace that made it; without it patients get new names")
    return key


def read_line(path: Path) -> str:
    """The first line of a file that holds a secret. Raises UserError where it cannot be read; the secret is never shown."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline(_LONGEST_LINE).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("the file of a secret cannot be read", where=path, found=type(error).__name__) from None
