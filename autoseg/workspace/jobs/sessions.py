"""Sessions: images that a viewer sends once and asks several segmentations of. A session is a folder of the spool, which is
removed when its time is over.
"""

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autoseg.base.errors import UserError
from autoseg.workspace.files import read_model, remove_folder, write_json
from autoseg.workspace.jobs.receiving import ReceivedFile, Receiving
from autoseg.workspace.jobs.sending import blocks, opened_to_send
from autoseg.workspace.partial import partial_folder, remove_leftovers
from planners.schema.base import Frozen, versioned

_ID = re.compile(r"[0-9a-f]{32}")
_FACTS = "session.json"


class SessionFile(Frozen):
    """A file of a session, by its number; `shown` is what its client calls it."""

    number: int
    shown: str
    n_bytes: int


class Session(Frozen):
    """The images of a session. Times are seconds since 1970 (UTC)."""

    schema_version: int = versioned(1)
    id: str
    client: str
    files: tuple[SessionFile, ...]
    created: float
    expires: float


class Sessions:
    """The sessions of a spool. Threads may share it. `now` is the clock, for tests."""

    def __init__(self, spool: Path, now: Callable[[], float] = time.time):
        self._root, self._now = spool / "sessions", now

    @contextmanager
    def receiving(self) -> Iterator[Path]:
        """A folder for files that come in; what is not added is removed."""
        with partial_folder(self._root) as parent:
            folder = parent / "session"
            folder.mkdir()
            yield folder

    def add(self, folder: Path, files: list[ReceivedFile], client: str, seconds: float) -> Session:
        """A session of the files in a folder of `receiving`."""
        now = self._now()
        session = Session(id=secrets.token_hex(16), client=client, created=now, expires=now + seconds,
                          files=tuple(SessionFile(number=int(file.path.name), shown=file.shown, n_bytes=file.n_bytes)
                                      for file in files))
        write_json(folder / _FACTS, session)
        os.replace(folder, self._root / session.id)
        return session

    def get(self, session_id: str, client: str) -> Session | None:
        """A session of this client; None where there is none, or its time is over."""
        session = self._read(session_id)
        return session if session is not None and session.client == client else None

    def remove(self, session_id: str) -> None:
        if _ID.fullmatch(session_id):
            remove_folder(self._root / session_id)

    def of_client(self, client: str) -> list[Session]:
        """The sessions of a client."""
        return [session for session in self.remove_expired() if session.client == client]

    def remove_expired(self) -> list[Session]:
        """Remove the sessions whose time is over, and what killed services left; the sessions that stay."""
        remove_leftovers(self._root)
        names = [path.name for path in self._root.iterdir()] if self._root.is_dir() else []
        return [session for name in names if (session := self._read(name)) is not None]

    def path(self, session: Session, number: int) -> Path:
        return self._root / session.id / str(number)

    def copy_into(self, receiving: Receiving, session: Session) -> list[ReceivedFile]:
        """The files of a session, as if they came in once more."""
        return [copy_file(receiving, self.path(session, file.number), file.shown) for file in session.files]

    def _read(self, session_id: str) -> Session | None:
        path = self._root / session_id / _FACTS
        if not _ID.fullmatch(session_id) or not path.is_file():
            return None
        try:
            session = read_model(path, Session)
        except UserError:
            session = None
        if session is None or session.expires <= self._now():
            self.remove(session_id)
            return None
        return session


def copy_file(receiving: Receiving, path: Path, shown: str) -> ReceivedFile:
    """A file of this machine, as if it came in under this name. Raises UserError where it is not there."""
    opened = opened_to_send(path)
    if opened is None:
        raise UserError("the file is missing", where=shown)
    receiving.begin(shown)
    for block in blocks(opened[0]):
        receiving.write(block)
    return receiving.end()


def with_ending(file: ReceivedFile, ending: str) -> Path:
    """A file that came in, under a name that ends as readers expect it."""
    path = file.path.with_name(f"{file.path.name}{ending}")
    os.replace(file.path, path)
    return path
