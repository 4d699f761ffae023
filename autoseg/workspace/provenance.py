"""`provenance.json` in a folder of results: what made each of them, with which versions, where and when.

It is a file of its own, so that results of the same input are the same files (docs/decisions/0035-provenance.md). A result
belongs to the last run that wrote it. Names of people and machines are not written.
"""

import platform
from collections.abc import Collection, Mapping
from datetime import datetime, timezone
from functools import cache
from importlib import metadata
from pathlib import Path

from autoseg.base.command import running_command
from autoseg.base.errors import UserError
from autoseg.base.processes import cores
from autoseg.base.version import __version__
from autoseg.workspace.files import keep_copy, read_model, write_json
from autoseg.workspace.locks import held
from planners.schema.base import Frozen, versioned

PROVENANCE = "provenance.json"
_PACKAGES = ("torch", "numpy", "scipy", "SimpleITK", "nibabel", "pydantic")


class Machine(Frozen):
    """`device` is what computed: the name of a GPU, or `cpu`."""

    system: str
    processor: str
    cores: int
    memory_gib: float
    device: str = "cpu"


class Provenance(Frozen):
    """What made some results. `plan`, `models`, and `source`, the weights that a training began with, are digests; empty:
    there is none.

    `command` is the command as it was typed, or the Python function (`base.command`). `started` is the time of the last
    start (ISO 8601, UTC), and `seconds` how long it took; None: it has not ended, or was stopped.
    """

    autoseg_version: str = __version__
    python: str
    packages: dict[str, str]
    command: str
    machine: Machine
    seed: int | None = None
    plan: str = ""
    models: str = ""
    source: str = ""
    started: str
    seconds: float | None = None


class Run(Frozen):
    """Results by their name in the folder, each with the digest of the data that it was made of; empty: not known."""

    provenance: Provenance
    results: dict[str, str]

    def is_like(self, other: "Run") -> bool:
        """Whether both are the same command on the same machine, at any time."""
        mine, theirs = (run.provenance.model_copy(update={"started": "", "seconds": None}) for run in (self, other))
        return mine == theirs

    def without(self, names: Collection[str]) -> "Run":
        return self.model_copy(update={"results": {name: data for name, data in self.results.items() if name not in names}})


class ProvenanceFile(Frozen):
    """All runs that made what lies in a folder."""

    schema_version: int = versioned(1)
    runs: tuple[Run, ...] = ()

    def of(self, name: str) -> Provenance | None:
        """What made a result; None where nothing is known of it."""
        return next((run.provenance for run in self.runs if name in run.results), None)


def now() -> datetime:
    return datetime.now(timezone.utc)


def seconds_since(started: datetime) -> float:
    return round((now() - started).total_seconds(), 1)


def provenance(started: datetime, seconds: float | None, *, seed: int | None = None, plan: str = "", models: str = "",
               source: str = "", device: str = "cpu") -> Provenance:
    """The provenance of what this process makes; `seconds` is None before it has ended."""
    return Provenance(python=platform.python_version(), packages=_packages(), command=running_command(),
                      machine=_machine().model_copy(update={"device": device}), seed=seed, plan=plan, models=models,
                      source=source, started=started.isoformat(timespec="seconds"), seconds=seconds)


def note(path: Path, results: Mapping[str, str], made: Provenance, forget: Collection[str] = ()) -> None:
    """Write into `path`, a `provenance.json`, what made these results (name -> digest of their data), beside what is known
    of others there, but for those to `forget`. What is no such file keeps a copy under another name.
    """
    with held(path.parent):
        before = ProvenanceFile()
        if path.is_file():
            try:
                before = read_model(path, ProvenanceFile)
            except UserError:
                keep_copy(path)
        mine = Run(provenance=made, results=dict(results))
        runs = [run for run in (run.without({*results, *forget}) for run in before.runs) if run.results]
        alike = [run for run in runs if run.is_like(mine)]
        together = mine.model_copy(update={"results": {name: data for run in (*alike, mine)
                                                       for name, data in sorted(run.results.items())}})
        write_json(path, ProvenanceFile(runs=(*(run for run in runs if run not in alike), together)))


def note_result(result: Path, made: Provenance, data: str = "") -> None:
    """As `note`, of one file, into the `provenance.json` beside it."""
    note(result.with_name(PROVENANCE), {result.name: data}, made)


@cache
def _packages() -> dict[str, str]:
    known = {}
    for name in _PACKAGES:
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return known


@cache
def _machine() -> Machine:
    import psutil

    return Machine(system=f"{platform.system()} {platform.release()} {platform.machine()}", processor=_processor(),
                   cores=cores(), memory_gib=round(psutil.virtual_memory().total / 2**30, 1))


def _processor() -> str:
    """The name of the processor; Linux says it in a file alone."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
