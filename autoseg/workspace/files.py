"""The one way to write a file: to a temporary name beside its place, flushed to the disk, renamed."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from autoseg.base.errors import UserError
from planners.schema.base import complaints_of

M = TypeVar("M", bound=BaseModel)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then flush it to the disk and rename it; all or nothing.

    The temporary name keeps the ending of `path`, because writers choose a format by it.
    """
    def write_and_flush(temporary: Path) -> None:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())

    _write_renamed(path, write_and_flush)


def write_unflushed(path: Path, content: bytes) -> None:
    """Write a file all or nothing, unless the machine itself fails: for what its readers check, and can be made again."""
    _write_renamed(path, lambda temporary: temporary.write_bytes(content))


def _write_renamed(path: Path, write: Callable[[Path], object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = "".join(path.suffixes[-2:]) if path.name.endswith(".gz") else path.suffix
    descriptor, name = tempfile.mkstemp(prefix=".partial_", suffix=ending, dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        write(temporary)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"))


def write_json(path: Path, value: BaseModel | dict[str, Any] | list[Any]) -> None:
    """Write a boundary object or plain JSON data, indented, for people to read and edit."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    write_text(path, json.dumps(plain, indent=2, allow_nan=False) + "\n")


def append_record(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line and flush it to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())


def write_records(path: Path, records: list[dict[str, Any]]) -> None:
    """Write JSON lines anew."""
    write_text(path, "".join(json.dumps(record) + "\n" for record in records))


def read_records(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file, none if it is missing; broken lines, such as one that a crash cut short, are left out."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return records


@contextmanager
def appended(path: Path) -> Iterator[IO[bytes]]:
    """A log file that a process writes to as it runs, after what is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        yield file


def tail(path: Path, n_lines: int) -> list[str]:
    """The last lines of a log; of a progress bar's line what it showed last."""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []
    return [line.rsplit("\r", 1)[-1] for line in lines if line.strip()][-n_lines:]


def read_json(path: Path) -> Any:
    """The JSON data of a file; a missing or malformed file is a UserError with the line."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError("the file is missing", where=path) from None
    except UnicodeDecodeError:
        raise UserError("the file is not text in UTF-8", where=path, do="save it as UTF-8") from None
    except json.JSONDecodeError as error:
        raise UserError("the file is not valid JSON", where=path, do="correct that line",
                        found=f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except (ValueError, RecursionError) as error:  # more digits, or deeper brackets, than Python reads
        raise UserError("the file is not valid JSON", where=path, found=error) from None


def read_model(path: Path, model: type[M]) -> M:
    """A boundary object from its JSON file; every wrong key or value is named."""
    data = read_json(path)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise UserError(f"the file is not a valid {model.__name__}", where=path, found=complaints_of(error),
                        do="correct these keys, or make the file again") from None


def remove_file(path: Path) -> None:
    """Remove a file, if it is there."""
    path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, if it is there."""
    if path.exists():
        shutil.rmtree(path)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
