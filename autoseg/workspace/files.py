"""The one way to write a file: to a temporary name beside its place, flushed to the disk, renamed."""

import errno
import functools
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from autoseg.base.errors import CannotWrite, UserError
from autoseg.workspace.again import how_again
from autoseg.workspace.partial import PARTIAL, partial_file, partial_folder
from planners.schema.base import FILE_DIGEST, Frozen, complaints_of

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Frozen)

_MOST_TAIL_BYTES = 2**20
_MOST_JSON_BYTES = 2**28  # our largest files hold scores of cases, about 1 KiB each


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then flush it to the disk and rename it; all or nothing.

    The temporary name keeps the ending of `path`, because writers choose a format by it.
    """
    ending = "".join(path.suffixes[-2:]) if path.name.lower().endswith(".gz") else path.suffix
    with writing(path), partial_folder(path.parent) as folder:
        temporary = folder / f"file{ending.lower()}"
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)


def write_unflushed(path: Path, content: bytes) -> None:
    """Write a file all or nothing, unless the machine itself fails: for what its readers check, and can be made again."""
    with writing(path), partial_file(path) as file:
        file.write(content)


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """The same file name in a temporary folder beside `path`. At the end all files of that folder are moved to the folder of
    `path`, which comes last; where something is raised, nothing is.

    For writers that need the final name, or that write several files, and for checks before a file gets its place.
    """
    with writing(path), partial_folder(path.parent) as folder:
        yield folder / path.name
        for part in sorted(folder.iterdir(), key=lambda part: part.name == path.name):
            os.replace(part, path.with_name(part.name))


@contextmanager
def staged_folder(path: Path) -> Iterator[Path]:
    """A folder that is filled elsewhere and gets its place at the end; where something is raised, nothing is there. Raises
    CannotWrite where a folder with files in it lies there already.
    """
    with writing(path), partial_folder(path.parent) as folder:
        (folder / path.name).mkdir()
        yield folder / path.name
        os.replace(folder / path.name, path)


def check_writable(folder: Path) -> None:
    """A UserError where no file could be written into a folder, which need not be there yet. Nothing is left behind."""
    nearest = next(parent for parent in (folder, *folder.absolute().parents) if os.path.lexists(parent))
    with writing(folder):
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is not a folder")
        with tempfile.TemporaryFile(dir=nearest):
            pass


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system says when a file cannot be written or removed, as CannotWrite, a UserError."""
    place = path
    while place.parent.name.startswith(PARTIAL):  # a temporary name says nothing to a user
        place = place.parent.with_name(place.name)
    try:
        yield
    except OSError as error:
        raise CannotWrite("it cannot be written", where=place, found=error.strerror or error,
                          do="name another place, or see to the disk and its permissions") from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))


class DamagedFile(UserError):
    """A JSON file of ours that is no longer as it was written: some can be made again, with a warning."""


def write_json(path: Path, value: BaseModel | dict[str, Any] | list[Any]) -> None:
    """Write a boundary object with its digest, or plain JSON data; indented, for people to read."""
    plain = _signed(value.model_dump(mode="json")) if isinstance(value, BaseModel) else value
    write_text(path, json.dumps(plain, indent=2, allow_nan=False) + "\n")


def keep_copy(path: Path) -> Path:
    """Give a file that is about to be written anew the first free name of `NAME_1`, `NAME_2`, ...; that name."""
    number = 1
    while (copy := path.with_name(f"{path.stem}_{number}{path.suffix}")).exists():
        number += 1
    with writing(copy):
        os.replace(path, copy)
    return copy


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line with its digest and flush it to the disk; where that fails, the file is as it was."""
    line = f"{json.dumps(_signed(record))}\n".encode()
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_own(path, "ab+", buffering=0) as file:  # what failed is not tried again when the file is closed
            size = file.seek(0, os.SEEK_END)
            if size and _last_byte(file) != b"\n":
                line = b"\n" + line  # a line that a killed process cut short takes no other with it
            try:
                if file.write(line) != len(line):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(size)
                raise


def _last_byte(file: IO[bytes]) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def write_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Write JSON lines anew."""
    write_text(path, "".join(json.dumps(_signed(record)) + "\n" for record in records))


def read_records(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file, none if it is missing; damaged ones, such as one that a crash cut short, are left out, with
    a warning.
    """
    if not path.is_file():
        return []
    records, n_broken = [], 0
    for line in filter(str.strip, path.read_text(encoding="utf-8", errors="replace").split("\n")):
        try:
            record, is_whole = _checked(parse_json(line))
        except json.JSONDecodeError:
            is_whole = False
        if is_whole and isinstance(record, dict):
            records.append(record)
        else:
            n_broken += 1
    if n_broken:
        _warn_once(f"{path}: {n_broken} damaged line{' is' if n_broken == 1 else 's are'} left out")
    return records


def open_own(path: Path, mode: str, encoding: str | None = None, buffering: int = -1) -> IO[Any]:
    """Open a file that is written where it lies. A link is a UserError: it may lead to a file of somebody else."""
    def opener(name: str, flags: int) -> int:
        return os.open(name, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)

    if path.is_symlink():  # also where the system knows no such flag
        raise UserError("the file is a link, and is not written through", where=path, found=os.readlink(path),
                        do="remove the link")
    return open(path, mode, buffering, encoding=encoding, opener=opener)


@contextmanager
def appended(path: Path) -> Iterator[IO[bytes]]:
    """A log file that a process writes to as it runs, after what is there."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open_own(path, "ab")
    with file:
        yield file


def tail(path: Path, n_lines: int) -> list[str]:
    """The last lines of a log, of its last MiB; of a progress bar's line what it showed last."""
    if not path.is_file():
        return []
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _MOST_TAIL_BYTES))
        lines = file.read().decode("utf-8", errors="replace").split("\n")
    return [line.rstrip("\r").rsplit("\r", 1)[-1] for line in lines if line.strip()][-n_lines:]


def changed_at(path: Path) -> float | None:
    """When a file was written last, in seconds since 1970; None where it is not there."""
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def read_json(path: Path) -> Any:
    """The JSON data of a file; a missing, malformed, changed or huge file is a UserError, with its line if any."""
    data, is_whole = _read(path)
    if not is_whole:
        raise _changed(path)
    return data


def read_edited_json(path: Path) -> Any:
    """As `read_json`, of a file that people may edit: its digest is not looked at."""
    return _read(path)[0]


def _read(path: Path) -> tuple[Any, bool]:
    """The JSON data of a file without their digest, and whether they match it; without a digest they are believed."""
    try:
        is_huge = path.stat().st_size > _MOST_JSON_BYTES
        return _checked(parse_json(None if is_huge else path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        raise UserError("the file is missing", where=path) from None
    except UnicodeDecodeError:
        raise DamagedFile("the file is not text in UTF-8", where=path, do=how_again(path) or "save it as UTF-8") from None
    except json.JSONDecodeError as error:
        do = how_again(path)
        raise DamagedFile("the file is not valid JSON", where=path, do=f"correct that line{', or ' * bool(do)}{do}",
                          found=f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except OSError as error:  # a folder, or one that may not be read
        raise UserError("the file cannot be read as JSON", where=path, found=error.strerror) from None


def _signed(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, FILE_DIGEST: _digest(data)}


def _checked(data: Any) -> tuple[Any, bool]:
    """Data without their digest, and whether they match it."""
    if not isinstance(data, dict) or FILE_DIGEST not in data:
        return data, True
    written = data.pop(FILE_DIGEST)
    return data, written == _digest(data)


def _digest(data: dict[str, Any]) -> str:
    """Of the values, not of the layout: a file that an editor has indented otherwise is the same."""
    return blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=16).hexdigest()


def _changed(path: Path) -> DamagedFile:
    return DamagedFile("the file is not as autoseg wrote it: damaged, or edited", where=path,
                       found=f"values that do not match its {FILE_DIGEST}",
                       do=f"{how_again(path) or 'make it again'}; or, if you edited it, remove its {FILE_DIGEST}")


@functools.cache
def _warn_once(warning: str) -> None:
    """A command reads some files several times."""
    logger.warning("%s", warning)


def parse_json(text: str | None) -> Any:
    """The data of a JSON text. Raises JSONDecodeError also for what would end Python's own reader in another error: brackets
    nested too deeply, a number of thousands of digits, a text that is too long (None).
    """
    if text is None or len(text) > _MOST_JSON_BYTES:
        raise json.JSONDecodeError(f"more than {_MOST_JSON_BYTES >> 20} MiB", "", 0)
    try:
        return json.loads(text)
    except RecursionError:
        raise json.JSONDecodeError("too many nested brackets", text, 0) from None
    except json.JSONDecodeError:
        raise
    except ValueError:  # of Python's limit for whole numbers
        raise json.JSONDecodeError("a number of too many digits", text, 0) from None


def read_model(path: Path, model: type[M]) -> M:
    """A boundary object from its JSON file; every wrong key or value is named.

    Files of earlier versions are read; a UserError for one of a later version, whose keys may mean something else. A file
    that was changed since is a DamagedFile, or a warning where people may edit it (docs/decisions/0033).
    """
    data, is_whole = _read(path)
    if not is_whole and not model.is_edited_by_people:
        raise _changed(path)
    _refuse_later_version(path, data, model)
    try:
        value = model.model_validate(data)
    except ValidationError as error:
        raise DamagedFile(f"the file is not a valid {model.__name__}", where=path, found=complaints_of(error),
                          do=f"correct these keys, or {how_again(path) or 'make the file again'}") from None
    if not is_whole:
        _warn_once(f"{path} is not as autoseg wrote it: edited, or damaged; it is used as it is. If you edited it, remove "
                   f"its {FILE_DIGEST}, and this is not said again; if nobody did, {how_again(path) or 'make it again'}")
    return value


def _refuse_later_version(path: Path, data: Any, model: type[BaseModel]) -> None:
    """A UserError where the JSON data of a file say that a later version wrote them."""
    field = model.model_fields.get("schema_version")
    written = data.get("schema_version") if isinstance(data, dict) else None
    if field is not None and isinstance(written, int) and written > field.default:
        raise UserError("a later version of autoseg wrote this file", where=path, found=f"schema_version {written}",
                        expected=f"at most {field.default}", do="update autoseg, or make the file again with this version")


def remove_file(path: Path) -> None:
    """Remove a file, if it is there."""
    with writing(path):
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, if it is there; of a link the link alone."""
    with writing(path):
        if path.is_symlink():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)
