"""Uploads, parsed while they stream: files go straight to the disk, in a folder that is gone if the upload breaks off."""

import asyncio
import time
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from autoseg.base.errors import CannotWrite, TooLarge
from autoseg.serve.problems import problem_of, refused, without_paths
from autoseg.serve.settings import Limits
from autoseg.workspace.jobs.receiving import ReceivedFile, Receiving

_BLOCK_BYTES = 2**20  # that are written at once
_MOST_FIELD = 2**16  # bytes of all fields that are no files, together
_MOST_PARTS = 1000  # that are no files
_SILENCE_SECONDS = 30.0
_SLOWEST = 2**14  # bytes per second, on average, once the silence is over
A = TypeVar("A")


@dataclass
class Form:
    """What a form holds: texts by name, and files by the name of their field, in the order in which they came."""

    texts: dict[str, str] = field(default_factory=dict)
    files: list[tuple[str, ReceivedFile]] = field(default_factory=list)


class _Parts:
    """Turns the calls of the parser into texts and files."""

    def __init__(self, receiving: Receiving, texts: Collection[str], files: Collection[str]):
        self.form, self._receiving = Form(), receiving
        self._known_texts, self._known_files = texts, files
        self._headers: dict[bytes, bytes] = {}
        self._key, self._value = bytearray(), bytearray()
        self._name, self._file_name, self._is_file, self._n_text_bytes, self._n_parts = "", "", False, 0, 0
        self._text = bytearray()
        self.is_whole = False

    def callbacks(self) -> dict[str, Callable[..., None]]:
        return {"on_part_begin": self._begin, "on_part_data": self._data, "on_part_end": self._end,
                "on_header_field": lambda data, start, end: self._key.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header, "on_headers_finished": self._named, "on_end": self._whole}

    def _begin(self) -> None:
        self._headers, self._text = {}, bytearray()

    def _header(self) -> None:
        self._headers[bytes(self._key).lower()] = bytes(self._value)
        self._key, self._value = bytearray(), bytearray()

    def _named(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", errors="replace")
        if kind != b"form-data" or not name:
            raise refused(422, "a part of the form has no name", do="send multipart/form-data, as curl -F does")
        self._name, self._is_file = name, name in self._known_files
        if self._is_file:
            self._file_name = options.get(b"filename", b"").decode("utf-8", errors="replace")
            self._receiving.begin(self._file_name)
            return
        self._n_parts += 1
        if name not in self._known_texts or self._n_parts > _MOST_PARTS:
            raise refused(422, "the form has a field that is not known", found=name[:80],
                          expected=", ".join([*self._known_files, *self._known_texts]))
        if b"filename" in options:
            raise refused(422, "a file came in a field that is a text", where=name)
        if name in self.form.texts:
            raise refused(422, "the form has a field twice", where=name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file:
            self._receiving.write(data[start:end])
            return
        self._n_text_bytes += end - start
        if self._n_text_bytes > _MOST_FIELD:
            raise refused(413, "the fields of the form are too long together", expected=f"at most {_MOST_FIELD} bytes")
        self._text.extend(data[start:end])

    def _end(self) -> None:
        if self._is_file:
            file = self._receiving.end()
            if file.n_bytes or self._file_name:  # else it is a browser's field in which no file was chosen
                self.form.files.append((self._name, file))
            return
        try:
            self.form.texts[self._name] = self._text.decode("utf-8")
        except UnicodeDecodeError:
            raise refused(422, "a field is not text in UTF-8", where=self._name) from None

    def _whole(self) -> None:
        self.is_whole = True


async def with_form(request: Request, opening: AbstractContextManager[Path], limits: Limits,
                    use: Callable[[Form, Receiving], A], *, texts: Collection[str], files: Collection[str]) -> A:
    """What `use` makes, in a thread, of an upload with these fields, in the folder that `opening` opens and removes.

    Nothing of the upload is left where it is refused or breaks off. Raises as `read_form` does, and 413 where `use` finds
    that it holds too much.
    """
    with ExitStack() as stack:
        folder = await run_in_threadpool(stack.enter_context, opening)
        try:
            receiving = Receiving(folder, limits.upload_bytes, limits.files)
            form = await read_form(request, receiving, texts=texts, files=files)
            return await run_in_threadpool(use, form, receiving)
        except TooLarge as error:
            raise of_fault(413, error) from None
        finally:
            await run_in_threadpool(stack.close)


async def read_form(request: Request, receiving: Receiving, *, texts: Collection[str], files: Collection[str],
                    now: Callable[[], float] = time.monotonic) -> Form:
    """The fields of an upload. Fields of these names are `texts` and `files`; another one is refused.

    Raises what is to be answered where the body is no form, too large, too slow or damaged; ClientDisconnect where it breaks
    off.
    """
    kind, options = parse_options_header(request.headers.get("content-type", "").encode("latin-1"))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise refused(415, "the request is no form with files", found=request.headers.get("content-type", "no content-type"),
                      expected="multipart/form-data with a boundary", do="send it as curl -F does")
    parts = _Parts(receiving, texts, files)
    try:
        parser: Any = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]
        async for block in timely_blocks(request, now):
            await run_in_threadpool(parser.write, block)
    except FormParserError as error:
        raise refused(422, "the form is damaged", found=str(error)) from None
    except TooLarge as error:
        raise refused(413, str(error), headers={"Connection": "close"}) from None
    finally:
        receiving.close()
    if not parts.is_whole:
        raise refused(422, "the form ends too early", do="send it again")
    return parts.form


async def timely_blocks(request: Request, now: Callable[[], float] = time.monotonic) -> Any:
    """The body in blocks of about a mebibyte. Raises what is to be answered to a client that is silent for too long, or
    slower than anybody's network.
    """
    started, n_bytes = now(), 0
    held = bytearray()
    stream = request.stream().__aiter__()
    while True:
        try:
            block = await asyncio.wait_for(stream.__anext__(), _SILENCE_SECONDS)
        except StopAsyncIteration:
            break
        except asyncio.TimeoutError:
            raise _too_slow() from None
        n_bytes += len(block)
        held += block
        seconds = now() - started
        if seconds > _SILENCE_SECONDS and n_bytes < seconds * _SLOWEST:
            raise _too_slow()
        if len(held) >= _BLOCK_BYTES:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _too_slow() -> Exception:
    return refused(408, "the upload is too slow", expected=f"at least {_SLOWEST} bytes per second",
                   do="send it again over a better connection", headers={"Connection": "close"})


def of_fault(status: int, error: Exception) -> Exception:
    """A user's error of an upload as what is answered; no path of the server stands in it. Of a disk that is full: 507."""
    problem = problem_of(without_paths(str(error)))
    return refused(507 if isinstance(error, CannotWrite) else status, problem.what)
