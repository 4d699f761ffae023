"""The file of the tokens by which a service knows its clients: a line for each, `name token`."""

import os
import re
import stat
from pathlib import Path

from autoseg.base.errors import UserError

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_TOKEN = re.compile(r"[A-Za-z0-9_~+/=.-]{16,512}")
_MOST_BYTES = 2**20
HOW_TO = "python -c \"import secrets; print('NAME', secrets.token_urlsafe(32))\" >> FILE; chmod 600 FILE"


def read_tokens(path: Path) -> dict[str, str]:
    """Token -> name of its owner. Empty lines, and those that begin with #, say nothing.

    Raises UserError where the file is missing, others than its owner may read it, a line is wrong, or a token is there
    twice. No token stands in an error.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise UserError("the file of the tokens cannot be read", where=path, found=error.strerror, do=f"make it: {HOW_TO}"
                        ) from None
    with os.fdopen(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        if os.name != "nt" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise UserError("others may read the file of the tokens", where=path, found=f"mode {stat.S_IMODE(mode):o}",
                            expected="600", do=f"chmod 600 {path}")
        try:
            text = file.read(_MOST_BYTES).decode("utf-8-sig")
        except (UnicodeDecodeError, OSError):
            raise UserError("the file of the tokens is not text in UTF-8", where=path) from None
    tokens: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 2 or not _NAME.fullmatch(words[0]) or not _TOKEN.fullmatch(words[1]):
            raise UserError("a line of the file of the tokens is wrong", where=f"{path}, line {number}",
                            expected="a name (letters, digits, _ . -), a space, and a token of at least 16 characters",
                            do=f"make it anew: {HOW_TO}")
        if words[1] in tokens:
            raise UserError("a token is there twice", where=f"{path}, line {number}", found=f"that of {tokens[words[1]]}",
                            expected="a token of its own for each name")
        tokens[words[1]] = words[0]
    if not tokens:
        raise UserError("the file of the tokens holds none", where=path, do=f"make one: {HOW_TO}")
    return tokens
