"""The names of all files, and the one way to write them: to a temporary name, fsync (but for prepared cases), rename.

AUTOSEG_HOME (default ~/autoseg) holds `raw/`, `prepared/` and `models/`. Raw datasets are also found under `nnUNet_raw`.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from pydantic import BaseModel, ValidationError

from autoseg.base.errors import UserError

M = TypeVar("M", bound=BaseModel)

_DATASET_FOLDER = re.compile(r"Dataset(\d{3,})_(.+)")


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
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


def write_json(path: Path, value: BaseModel | dict | list) -> None:
    """Write a boundary object or plain JSON data, indented, for people to read and edit."""
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    write_text(path, json.dumps(plain, indent=2, allow_nan=False) + "\n")


def append_record(path: Path, record: dict) -> None:
    """Append one JSON line and flush it to the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
        file.flush()
        os.fsync(file.fileno())


def write_records(path: Path, records: list[dict]) -> None:
    """Write JSON lines anew."""
    write_text(path, "".join(json.dumps(record) + "\n" for record in records))


def read_records(path: Path) -> list[dict]:
    """The JSON lines of a file, none if it is missing; a last line cut short by a crash is left out."""
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
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        line = f"line {error.lineno}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else "not UTF-8"
        raise UserError("the file is not valid JSON", where=path, found=f"{error.args[0]} at {line}",
                        do="correct that line") from None


def read_model(path: Path, model: type[M]) -> M:
    """A boundary object from its JSON file; every wrong key or value is named."""
    data = read_json(path)
    try:
        return model.model_validate(data)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise UserError(f"the file is not a valid {model.__name__}", where=path, found=faults,
                        do="correct these keys or make the file anew") from None


@contextmanager
def locked(folder: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold a folder alone. Where another process of this machine holds it: a UserError, or `wait` for its end. Windows has
    no such lock.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f".{folder.name}.lock"), "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError("another process works here", where=folder, do="wait for it, or end it") from None
        except OSError:  # a disk without locks, as some that are shared
            pass
        yield


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, if it is there."""
    if path.exists():
        shutil.rmtree(path)


@dataclass(frozen=True)
class Workspace:
    """The folders under one home, and where everything in them lies."""

    home: Path

    @classmethod
    def open(cls, home: str | Path | None = None) -> "Workspace":
        """The workspace of `home`, else of AUTOSEG_HOME, else ~/autoseg. Nothing is created."""
        chosen = home or os.environ.get("AUTOSEG_HOME") or Path.home() / "autoseg"
        return cls(Path(chosen).expanduser().absolute())

    def raw_roots(self) -> list[Path]:
        """Folders that hold raw datasets, in the order of preference."""
        roots = [self.home / "raw"]
        if os.environ.get("nnUNet_raw"):
            roots.append(Path(os.environ["nnUNet_raw"]).expanduser())
        return roots

    def datasets(self) -> list[str]:
        """Names of every dataset that has a raw, prepared or model folder."""
        roots = [*self.raw_roots(), self.home / "prepared", self.home / "models"]
        found = {p.name for root in roots if root.is_dir() for p in root.iterdir() if _DATASET_FOLDER.fullmatch(p.name)}
        return sorted(found)

    def dataset(self, key: str | int) -> str:
        """Full name `Dataset004_Hippocampus` from `4`, `004`, or the name itself.

        Raises UserError where nothing or more than one dataset fits.
        """
        known = self.datasets()
        text = str(key)
        if text.isdecimal():
            fits = [name for name in known if int(_DATASET_FOLDER.fullmatch(name).group(1)) == int(text)]
        else:
            fits = [name for name in known if text in (name, _DATASET_FOLDER.fullmatch(name).group(2))]
        if len(fits) == 1:
            return fits[0]
        where = " or ".join(str(root) for root in self.raw_roots())
        if not fits:
            raise UserError(f"unknown dataset {text!r}", where=where, found=", ".join(known) or "no dataset",
                            do="put a folder DatasetNNN_Name there, or name another home with --home")
        raise UserError(f"dataset {text!r} is ambiguous", where=where, found=", ".join(fits), do="give the full name")

    def raw(self, dataset: str) -> Path:
        """The raw folder of a dataset; a UserError where there is none."""
        for root in self.raw_roots():
            if (root / dataset).is_dir():
                return root / dataset
        raise UserError("the dataset has no raw folder", where=dataset,
                        expected=" or ".join(str(root / dataset) for root in self.raw_roots()))

    def prepared(self, dataset: str) -> Path:
        return self.home / "prepared" / dataset

    def fingerprint(self, dataset: str) -> Path:
        return self.prepared(dataset) / "fingerprint.json"

    def plan(self, dataset: str, planner: str) -> Path:
        return self.prepared(dataset) / f"plan_{planner}.json"

    def splits(self, dataset: str) -> Path:
        return self.prepared(dataset) / "splits.json"

    def cases(self, dataset: str, planner: str, configuration: str) -> Path:
        """Folder of the prepared cases of one configuration."""
        return self.prepared(dataset) / f"{planner}_{configuration}"

    def transforms(self, dataset: str) -> Path:
        """Folder of what registration found for each case."""
        return self.prepared(dataset) / "registration"

    def model(self, dataset: str, planner: str, configuration: str) -> Path:
        return self.home / "models" / dataset / planner / configuration

    def fold(self, dataset: str, planner: str, configuration: str, fold: int | str) -> Path:
        return self.model(dataset, planner, configuration) / f"fold_{fold}"

    def inference(self, dataset: str) -> Path:
        """What predictions of this dataset use, as cross-validation decided."""
        return self.home / "models" / dataset / "inference.json"

    def selection(self, dataset: str) -> Path:
        """What was compared to decide it."""
        return self.home / "models" / dataset / "selection.json"

    def report(self, dataset: str) -> Path:
        return self.home / "models" / dataset / "report.html"

    def model_plan(self, dataset: str, planner: str, configuration: str) -> Path:
        """The plan that the folds of a model were trained with."""
        return self.model(dataset, planner, configuration) / "plan.json"


@dataclass(frozen=True)
class FoldFolder:
    """The files of one trained fold."""

    path: Path

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.safetensors"

    @property
    def state(self) -> Path:
        return self.path / "state.pt"

    @property
    def schedule(self) -> Path:
        return self.path / "schedule.json"

    @property
    def encoder(self) -> Path:
        """How the conditions of this fold become numbers, fitted when its training began."""
        return self.path / "encoder.json"

    @property
    def begun(self) -> bool:
        """Whether there is anything of a training."""
        return any(path.is_file() for path in (self.schedule, self.state, self.checkpoint, self.result))

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def sheet(self) -> Path:
        """Pictures of some validation cases."""
        return self.path / "contact_sheet.png"

    @property
    def validation(self) -> Path:
        """Folder of the predicted validation cases."""
        return self.path / "validation"

    def probabilities(self, name: str) -> Path:
        """The probabilities of a validation case, written where they were asked for."""
        return self.path / "probabilities" / f"{name}.b2nd"

    def ablation(self, ending: str) -> Path:
        """What each input contributes: .json, .md to read, and .jsonl with a record a prediction."""
        return self.path / f"ablation{ending}"

    @property
    def log(self) -> Path:
        """What the process said that trained this fold beside others."""
        return self.path / "log.txt"

    @property
    def result(self) -> Path:
        """The scores; its presence says that the fold is finished."""
        return self.path / "result.json"

    def clear(self) -> None:
        """Remove what an earlier training left."""
        remove_folder(self.path)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current
