"""The jobs of the service in a database of SQLite, which the service and its workers share.

Each change is one transaction, which is on the disk when the call returns (WAL with full synchronisation), but for the
progress of a job, which may be lost. What a client said of a patient is overwritten when a job is removed or expires.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from autoseg.base.errors import UserError
from autoseg.workspace.files import writing
from autoseg.workspace.jobs.types import FINAL, Job, JobRequest, JobResult, Problem, Progress, Question, State

_VERSION = 1
_BUSY_SECONDS = 30.0
_MORE_ATTEMPTS = 3  # of a job that ran when the whole service was killed, which it need not have caused
_TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, client TEXT NOT NULL, state TEXT NOT NULL, sequence INTEGER NOT NULL, request TEXT NOT NULL,
    created REAL NOT NULL, started REAL, ended REAL, expires REAL, attempts INTEGER NOT NULL DEFAULT 0, worker TEXT,
    is_cancelled INTEGER NOT NULL DEFAULT 0, progress TEXT, problem TEXT, question TEXT, result TEXT);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, sequence);
CREATE INDEX IF NOT EXISTS jobs_by_client ON jobs (client, sequence);
CREATE TABLE IF NOT EXISTS clients (name TEXT PRIMARY KEY, last_turn INTEGER NOT NULL);
"""
# The order of what waits, as if no more came: in each round every owner has a turn, first the one whose last turn is the
# longest ago. A client is "owner" or "owner/part": the parts of an owner share its turns, in the same way, so that who names
# ever new parts gets no more turns. Of a client the oldest job is the first.
_ORDER = """
WITH turns AS (
    SELECT name, last_turn, substr(name, 1, instr(name || '/', '/') - 1) AS owner FROM clients),
waiting AS (
    SELECT id, sequence, substr(client, 1, instr(client || '/', '/') - 1) AS owner,
           ROW_NUMBER() OVER (PARTITION BY client ORDER BY sequence) AS round,
           COALESCE((SELECT last_turn FROM turns WHERE name = client), -1) AS last_turn
    FROM jobs WHERE state = 'queued'),
of_owners AS (
    SELECT id, sequence, ROW_NUMBER() OVER (PARTITION BY owner ORDER BY round, last_turn, sequence) AS round,
           COALESCE((SELECT MAX(last_turn) FROM turns WHERE turns.owner = waiting.owner), -1) AS last_turn
    FROM waiting)
SELECT id FROM of_owners ORDER BY round, last_turn, sequence
"""


@dataclass(frozen=True)
class Running:
    """A job that a worker has, since so many seconds."""

    id: str
    model: str
    worker: str
    seconds: float


class WrongState(UserError):
    """What was asked for does not fit the state of the job."""


class UnknownJob(UserError):
    """There is no such job."""


@dataclass(frozen=True)
class QueueLimits:
    """How many jobs may wait or run: of one client, and of all."""

    of_client: int
    of_all: int


class QueueFull(UserError):
    """So many jobs wait or run already: `of_client` of the client that asks, `of_all` of all."""

    def __init__(self, of_client: int, of_all: int) -> None:
        super().__init__("the queue is full", found=f"{of_client} jobs of the client, {of_all} of all")
        self.of_client, self.of_all = of_client, of_all


class JobStore:
    """The database of a spool. Threads and processes may share it; each thread has a connection of its own."""

    def __init__(self, path: Path, *, result_seconds: float = 86400.0, attempts: int = 2,
                 now: Callable[[], float] = time.time) -> None:
        """Opens or makes the database. `result_seconds` after its end a job expires. A job whose worker died is tried
        `attempts` times. Raises UserError where a later version made the database.
        """
        self._path, self._now = path, now
        self._result_seconds, self._attempts = result_seconds, attempts
        self._own = threading.local()
        self._claimed: dict[str, int] = {}  # the attempt at a job that this object claimed
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            raise UserError("the database of jobs cannot be opened", where=path, found=error,
                            do="see to its permissions; if it is damaged, remove it and its -wal and -shm files, and send "
                               "the jobs again") from error

    def _prepare(self) -> None:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            raise UserError("a later version made the database of jobs", where=self._path, found=f"version {version}",
                            expected=f"at most {_VERSION}", do="update autoseg, or name another spool")
        if version < _VERSION:
            self._connection.executescript(_TABLE)
            self._connection.execute(f"PRAGMA user_version = {_VERSION}")

    @property
    def _connection(self) -> sqlite3.Connection:
        if not hasattr(self._own, "connection"):
            connection = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
            connection.row_factory = sqlite3.Row
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "foreign_keys = ON"):
                connection.execute(f"PRAGMA {pragma}")
            self._own.connection = connection
        connection_: sqlite3.Connection = self._own.connection
        return connection_

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    def accept(self, request: JobRequest, job_id: str, limits: QueueLimits | None = None) -> Job:
        """A job whose files are whole on the disk is queued. The caller may say so to its client when this returns.

        Raises QueueFull where it would pass the limits, also of jobs that are accepted at the same moment.
        """
        with self._transaction() as connection:
            if limits is not None:
                self.check_queue(request.client, limits)
            connection.execute(
                "INSERT INTO jobs (id, client, state, sequence, request, created) VALUES (?, ?, 'queued', "
                "(SELECT COALESCE(MAX(sequence), 0) + 1 FROM jobs), ?, ?)",
                (job_id, request.client, request.model_dump_json(), self._now()))
        return self._known(job_id)

    def get(self, job_id: str) -> Job | None:
        """The job as it is now; None where there is none."""
        row = self._connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return None if row is None else self._jobs([row])[0]

    def of_client(self, client: str) -> list[Job]:
        """The jobs of a client, the newest first."""
        rows = self._connection.execute("SELECT * FROM jobs WHERE client = ? ORDER BY sequence DESC", (client,))
        return self._jobs(rows.fetchall())

    def ids(self) -> set[str]:
        """All jobs that are known."""
        return {row["id"] for row in self._connection.execute("SELECT id FROM jobs")}

    def with_files(self) -> set[str]:
        """The jobs whose files are kept: all but those that have expired."""
        return {row["id"] for row in self._connection.execute("SELECT id FROM jobs WHERE state != 'expired'")}

    def counts(self) -> dict[State, int]:
        """How many jobs there are in each state."""
        counted = dict(self._connection.execute("SELECT state, COUNT(*) FROM jobs GROUP BY state").fetchall())
        return {state: counted.get(state, 0) for state in get_args(State)}

    def check_queue(self, client: str, limits: QueueLimits) -> None:
        """Raises QueueFull where one more job of this client would pass the limits."""
        of_client, of_all = self._connection.execute(
            "SELECT COALESCE(SUM(client = ?), 0), COUNT(*) FROM jobs WHERE state IN ('queued', 'running', 'question')",
            (client,)).fetchone()
        if of_client >= limits.of_client or of_all >= limits.of_all:
            raise QueueFull(of_client, of_all)

    def running(self) -> list[Running]:
        """The jobs that workers have now."""
        now = self._now()
        rows = self._connection.execute("SELECT id, request, worker, started FROM jobs WHERE state = 'running'").fetchall()
        return [Running(row["id"], JobRequest.model_validate_json(row["request"]).model, row["worker"], now - row["started"])
                for row in rows]

    def ended_before(self, seconds: float) -> list[str]:
        """The jobs that ended longer ago, and have not expired."""
        rows = self._connection.execute("SELECT id FROM jobs WHERE ended < ? AND state IN ('done', 'failed', 'cancelled')",
                                        (self._now() - seconds,))
        return [row["id"] for row in rows.fetchall()]

    def claim(self, worker: str) -> Job | None:
        """The next job, which the worker begins now; None where none waits."""
        if self._connection.execute("SELECT 1 FROM jobs WHERE state = 'queued' LIMIT 1").fetchone() is None:
            return None  # without a lock for writing: an idle worker asks often
        with self._transaction() as connection:
            row = connection.execute(_ORDER).fetchone()
            if row is None:
                return None
            connection.execute("UPDATE jobs SET state = 'running', worker = ?, started = ?, attempts = attempts + 1, "
                               "progress = NULL WHERE id = ?", (worker, self._now(), row["id"]))
            connection.execute(
                "INSERT INTO clients (name, last_turn) SELECT client, (SELECT COALESCE(MAX(last_turn), 0) + 1 FROM clients) "
                "FROM jobs WHERE id = ? ON CONFLICT (name) DO UPDATE SET last_turn = excluded.last_turn", (row["id"],))
            job = self._known(row["id"])
        self._claimed[job.id] = job.attempts
        return job

    def progress(self, job_id: str, progress: Progress) -> None:
        """Notes how far a running job is. It may be lost, so that it need not wait for the disk."""
        connection = self._connection
        connection.execute("PRAGMA synchronous = NORMAL")
        try:
            connection.execute("UPDATE jobs SET progress = ? WHERE id = ? AND state = 'running'",
                               (progress.model_dump_json(), job_id))
        finally:
            connection.execute("PRAGMA synchronous = FULL")

    def finish(self, job_id: str, result: JobResult) -> None:
        """The result of a running job is whole on the disk. Of a job that was cancelled meanwhile it is not recorded."""
        self._end(job_id, "done", **_done(result))

    def fail(self, job_id: str, problem: Problem) -> None:
        """A running job could not be done."""
        self._end(job_id, "failed", problem=problem.model_dump_json())

    def ask(self, job_id: str, question: Question) -> None:
        """A running job waits for an answer of its client."""
        with self._transaction() as connection:
            connection.execute("UPDATE jobs SET state = CASE is_cancelled WHEN 1 THEN 'cancelled' ELSE 'question' END, "
                               "question = ?, worker = NULL, expires = ? WHERE id = ? AND state = 'running'",
                               (question.model_dump_json(), self._now() + self._result_seconds, job_id))

    def answer(self, job_id: str, series: Mapping[str, str]) -> Job:
        """The answer to the question of a job, which is queued again. Raises WrongState where it has asked nothing."""
        with self._transaction() as connection:
            job = self._known(job_id)
            if job.state != "question":
                raise WrongState("the job has asked nothing", where=f"job {job_id}", found=job.state)
            request = job.request.model_copy(update={"series": {**job.request.series, **series}})
            connection.execute("UPDATE jobs SET state = 'queued', request = ?, question = NULL, expires = NULL, "
                               "attempts = 0 WHERE id = ?", (request.model_dump_json(), job_id))
        return self._known(job_id)

    def cancel(self, job_id: str) -> Job:
        """A job that waits is cancelled; of one that runs its worker is asked to. Raises WrongState where it has ended."""
        with self._transaction() as connection:
            job = self._known(job_id)
            if job.state in FINAL:
                raise WrongState("the job has ended already", where=f"job {job_id}", found=job.state)
            connection.execute("UPDATE jobs SET is_cancelled = 1 WHERE id = ?", (job_id,))
            if job.state != "running":
                self._set_ended(connection, job_id, "cancelled")
        return self._known(job_id)

    def cancelled(self, job_id: str) -> None:
        """The worker of a job has stopped as it was asked to."""
        self._end(job_id, "cancelled")

    def is_cancelled(self, job_id: str) -> bool:
        """Whether a running job shall stop: it was cancelled, is gone, or somebody else works on it."""
        row = self._connection.execute("SELECT is_cancelled, attempts FROM jobs WHERE id = ?", (job_id,)).fetchone()
        return row is None or bool(row["is_cancelled"]) or not self._is_ours(job_id, row)

    def remove(self, job_id: str) -> None:
        """Forget a job, with all that was said of its patient."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM jobs WHERE id = ?", (job_id,))
        self._checkpoint()

    def give_back(self, workers: Iterable[str] | None = None,
                  result_of: Callable[[str], JobResult | None] = lambda _: None, *, were_stopped: bool = False) -> list[str]:
        """Queue again what ran on workers that are dead (None: on all); what was tried often enough fails. The ids.

        Where the result of a job is whole on the disk already (`result_of`), the job is done. Where the workers were stopped
        with the service, that was no attempt; where all died, perhaps with the machine, more attempts are allowed.
        """
        dead = None if workers is None else set(workers)
        most = self._attempts if dead is not None else self._attempts + _MORE_ATTEMPTS
        with self._transaction() as connection:
            rows = connection.execute("SELECT id, worker, attempts, is_cancelled FROM jobs WHERE state = 'running'")
            lost = [row for row in rows.fetchall() if dead is None or row["worker"] in dead]
            for row in lost:
                if row["is_cancelled"]:
                    self._set_ended(connection, row["id"], "cancelled")
                elif (result := result_of(row["id"])) is not None:
                    self._set_ended(connection, row["id"], "done", **_done(result))
                elif row["attempts"] >= most and not were_stopped:
                    problem = Problem(what="the worker process ended abruptly while it worked on this job",
                                      found=f"{row['attempts']} attempts", do="send it again; if it fails again, the image "
                                      "may be too large for this machine or damaged: see the log of the service")
                    self._set_ended(connection, row["id"], "failed", problem=problem.model_dump_json())
                else:
                    connection.execute("UPDATE jobs SET state = 'queued', worker = NULL, started = NULL, progress = NULL, "
                                       "attempts = ? WHERE id = ?", (row["attempts"] - were_stopped, row["id"]))
        return [row["id"] for row in lost]

    def lose(self, job_id: str, problem: Problem) -> None:
        """A job that waits cannot be done, since its files are gone."""
        with self._transaction() as connection:
            job = self._known(job_id)
            if job.state in ("queued", "question"):
                self._set_ended(connection, job_id, "failed", problem=problem.model_dump_json())

    def unfinished(self) -> set[str]:
        """The ids of jobs that wait or run."""
        rows = self._connection.execute("SELECT id FROM jobs WHERE state IN ('queued', 'running', 'question')")
        return {row["id"] for row in rows}

    def expire(self) -> list[str]:
        """Mark what has ended long ago as expired, and forget what was said of its patient; the ids, whose files can be
        removed. Jobs that expired as long ago again are forgotten.
        """
        now = self._now()
        with self._transaction() as connection:
            rows = connection.execute("SELECT * FROM jobs WHERE expires < ?", (now,)).fetchall()
            for row in rows:
                if row["state"] == "expired":
                    connection.execute("DELETE FROM jobs WHERE id = ?", (row["id"],))
                    continue
                request = JobRequest.model_validate_json(row["request"])
                bare = request.model_copy(update={"row": {}, "series": {}, "files": ()})
                connection.execute("UPDATE jobs SET state = 'expired', request = ?, question = NULL, result = NULL, "
                                   "problem = NULL, expires = ? WHERE id = ?",
                                   (bare.model_dump_json(), now + self._result_seconds, row["id"]))
            connection.execute("DELETE FROM clients WHERE name NOT IN (SELECT client FROM jobs)")
        if rows:
            self._checkpoint()
        return [row["id"] for row in rows]

    def close(self) -> None:
        """Close the connection of this thread."""
        if hasattr(self._own, "connection"):
            self._own.connection.close()
            del self._own.connection

    def _known(self, job_id: str) -> Job:
        job = self.get(job_id)
        if job is None:
            raise UnknownJob("there is no such job", where=f"job {job_id}")
        return job

    def _end(self, job_id: str, state: State, **columns: str) -> None:
        """End a running job; as cancelled where its client asked for it meanwhile."""
        with self._transaction() as connection:
            row = connection.execute("SELECT is_cancelled, attempts FROM jobs WHERE id = ? AND state = 'running'",
                                     (job_id,)).fetchone()
            if row is None or not self._is_ours(job_id, row):
                return
            if row["is_cancelled"]:
                self._set_ended(connection, job_id, "cancelled")
            else:
                self._set_ended(connection, job_id, state, **columns)
        self._claimed.pop(job_id, None)

    def _set_ended(self, connection: sqlite3.Connection, job_id: str, state: State, **columns: str) -> None:
        now = self._now()
        values: dict[str, Any] = {"state": state, "worker": None, "question": None, "ended": now,
                                  "expires": now + self._result_seconds, **columns}
        names = ", ".join(f"{name} = ?" for name in values)  # names of this file, never a client's
        connection.execute(f"UPDATE jobs SET {names} WHERE id = ?", (*values.values(), job_id))  # nosec B608

    def _checkpoint(self) -> None:
        """Write what the log holds into the database and empty it, so that nothing of what was removed stays there."""
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _is_ours(self, job_id: str, row: sqlite3.Row) -> bool:
        """Whether this object works on a job still: a worker that was given up may not end what another one does again."""
        return bool(self._claimed.get(job_id, row["attempts"]) == row["attempts"])

    def _jobs(self, rows: Sequence[sqlite3.Row]) -> list[Job]:
        order: list[str] = []
        if any(row["state"] == "queued" for row in rows):
            order = [row["id"] for row in self._connection.execute(_ORDER)]
        positions = {job_id: position for position, job_id in enumerate(order)}
        return [_job(row, positions.get(row["id"], 0)) for row in rows]


def _done(result: JobResult) -> dict[str, str]:
    """The columns of a job that is done."""
    return {"result": result.model_dump_json(),
            "progress": Progress(stage="finished", fraction=1.0, eta_seconds=0.0).model_dump_json()}


def _job(row: sqlite3.Row, position: int) -> Job:
    def read(column: str, model: Any) -> Any:
        return None if row[column] is None else model.model_validate_json(row[column])

    return Job(id=row["id"], request=JobRequest.model_validate_json(row["request"]), state=row["state"],
               created=row["created"], started=row["started"], ended=row["ended"], expires=row["expires"],
               attempts=row["attempts"], position=position, progress=read("progress", Progress) or Progress(),
               problem=read("problem", Problem), question=read("question", Question), result=read("result", JobResult))
