"""Where the results of jobs go beside their clients: a table in the database of the jobs, which survives a restart."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from autoseg.workspace.files import writing
from planners.schema.base import Frozen

Form = Literal["seg", "rtstruct"]

_BUSY_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 3600.0  # seconds between two attempts
_TABLE = """
CREATE TABLE IF NOT EXISTS deliveries (
    job_id TEXT PRIMARY KEY, destination TEXT NOT NULL, form TEXT NOT NULL, state TEXT NOT NULL, created REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, next_attempt REAL NOT NULL DEFAULT 0, problem TEXT NOT NULL DEFAULT '');
"""


class Delivery(Frozen):
    """Where the result of a job goes, in which form, and how far that is. `waiting`: for the job, or for the next attempt.

    `destination`: `dicomweb`, or the AE title of a peer of the listener. Times are seconds since 1970 (UTC). `problem`: why
    the last attempt failed.
    """

    job_id: str
    destination: str
    form: Form
    state: Literal["waiting", "stored", "failed"]
    created: float
    attempts: int = 0
    next_attempt: float = 0.0
    problem: str = ""


class DeliveryStore:
    """The table of deliveries. Each call has a connection of its own, so that threads may share it."""

    def __init__(self, path: Path, now: Callable[[], float] = time.time) -> None:
        self._path, self._now = path, now
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._connected() as connection:
                connection.execute("PRAGMA journal_mode = WAL")
                connection.executescript(_TABLE)

    def plan(self, job_id: str, destination: str, form: Form) -> None:
        """Note where the result of a job goes, before the job is accepted; the same again changes nothing."""
        with self._connected() as connection:
            connection.execute("INSERT OR IGNORE INTO deliveries (job_id, destination, form, state, created) "
                               "VALUES (?, ?, ?, 'waiting', ?)", (job_id, destination, form, self._now()))

    def get(self, job_id: str) -> Delivery | None:
        """The delivery of a job; None where its result goes nowhere."""
        with self._connected() as connection:
            row = connection.execute("SELECT * FROM deliveries WHERE job_id = ?", (job_id,)).fetchone()
        return None if row is None else Delivery(**dict(row))

    def due(self) -> list[Delivery]:
        """What waits and may be tried now, the oldest first."""
        with self._connected() as connection:
            rows = connection.execute("SELECT * FROM deliveries WHERE state = 'waiting' AND next_attempt <= ? "
                                      "ORDER BY created, job_id", (self._now(),)).fetchall()
        return [Delivery(**dict(row)) for row in rows]

    def attempt(self, job_id: str) -> None:
        """An attempt begins. If the process dies during it, the next attempt knows that it was not the first."""
        with self._connected() as connection:
            connection.execute("UPDATE deliveries SET attempts = attempts + 1 WHERE job_id = ?", (job_id,))

    def postpone(self, job_id: str, problem: str) -> None:
        """An attempt failed; the pause until the next doubles each time."""
        with self._connected() as connection:
            row = connection.execute("SELECT attempts FROM deliveries WHERE job_id = ?", (job_id,)).fetchone()
            if row is not None:
                pause = min(_FIRST_PAUSE * 2 ** min(row["attempts"] - 1, 20), _LONGEST_PAUSE)
                connection.execute("UPDATE deliveries SET next_attempt = ?, problem = ? WHERE job_id = ?",
                                   (self._now() + pause, problem, job_id))

    def stored(self, job_id: str) -> None:
        """The destination has the result."""
        self._end(job_id, "stored", "")

    def failed(self, job_id: str, problem: str) -> None:
        """The result never comes to the destination."""
        self._end(job_id, "failed", problem)

    def remove(self, job_id: str) -> None:
        """Forget the delivery of a job."""
        with self._connected() as connection:
            connection.execute("DELETE FROM deliveries WHERE job_id = ?", (job_id,))

    def remove_ended(self, seconds: float) -> None:
        """Forget what ended, of jobs that came longer ago than this."""
        with self._connected() as connection:
            connection.execute("DELETE FROM deliveries WHERE state != 'waiting' AND created < ?", (self._now() - seconds,))

    def _end(self, job_id: str, state: str, problem: str) -> None:
        with self._connected() as connection:
            connection.execute("UPDATE deliveries SET state = ?, problem = ? WHERE job_id = ?", (state, problem, job_id))

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous = FULL")
            yield connection
        finally:
            connection.close()
