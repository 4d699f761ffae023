"""A model in one file: a zip whose members are stored as they are, each with its checksum in `archive.json`.

The members are the files of a workspace with one dataset (`models/DATASET/PLANNER/CONFIGURATION/...`) and a model card. The
file comes from others: nothing of it is used before every member has been compared with its checksum, and nothing of it is
executed. Members are not compressed, so that no small file can become a large one (weights hardly shrink anyway).
"""

import logging
import os
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import IO, Literal

from pydantic import Field, ValidationError

from autoseg.base.errors import CannotWrite, ManyFaults, UserError, listed
from autoseg.base.version import __version__
from autoseg.workspace.files import DamagedFile, check_writable, parse_json, write_atomically, writing
from autoseg.workspace.names import Workspace
from autoseg.workspace.partial import partial_folder, remove_leftovers
from autoseg.workspace.zips import NOT_A_ZIP, fault_of_entry
from planners.schema.base import Frozen, complaints_of, versioned
from planners.schema.names import Name

MANIFEST, CARD = "archive.json", "MODEL_CARD.md"
_ENDINGS = (".json", ".safetensors", ".md")  # what is read: JSON and tensors are data, never code
_MOST_MEMBERS, _MOST_FOLDERS = 5000, 6
_MOST_MANIFEST_BYTES = 2**24
_BLOCK_BYTES = 2**22
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # of a zip: the same model is the same file at any time
_AGAIN = "copy the file again from where it is whole, or export the model again"


class ArchiveMember(Frozen):
    """A file of the archive, with its size and the SHA-256 of its content."""

    name: str
    size: int = Field(ge=0)
    sha256: str


class ArchiveManifest(Frozen):
    """`archive.json`: what the archive is, and all its other members.

    `plugins` are the modules that register the parts that the plans name and autoseg does not have. They are named, never
    imported.
    """

    format: Literal["autoseg model"] = "autoseg model"
    schema_version: int = versioned(1)
    autoseg_version: str = __version__
    dataset: Name
    plugins: tuple[str, ...] = ()
    licence: str = ""
    members: tuple[ArchiveMember, ...] = ()


def is_archive(path: Path) -> bool:
    """Whether a path is a file, where the folder of a model could be."""
    return path.is_file()


def write_archive(path: Path, folder: Path, manifest: ArchiveManifest) -> ArchiveManifest:
    """Write all files of a folder into a zip, all or nothing; the manifest with its members."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    names = [file.relative_to(folder).as_posix() for file in files]
    members = tuple(ArchiveMember(name=name, size=file.stat().st_size, sha256=_checksum(file))
                    for name, file in zip(names, files, strict=True))
    whole = manifest.model_copy(update={"members": members})

    def write(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            archive.writestr(_entry(MANIFEST), whole.model_dump_json(indent=2) + "\n")
            for name, file in zip(names, files, strict=True):
                entry = _entry(name)
                entry.file_size = file.stat().st_size  # so that a large one gets the fields of a large one
                with open(file, "rb") as source, archive.open(entry, "w") as target:
                    shutil.copyfileobj(source, target, _BLOCK_BYTES)

    write_atomically(path, write)
    return whole


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, _EARLIEST)
    entry.external_attr = (stat.S_IFREG | 0o644) << 16
    entry.create_system = 3  # Unix, on every system: else the same model would be another file
    return entry


def _checksum(file: Path) -> str:
    state = sha256()
    with open(file, "rb") as source:
        while block := source.read(_BLOCK_BYTES):
            state.update(block)
    return state.hexdigest()


@contextmanager
def opened(path: Path) -> Iterator[tuple[Workspace, ArchiveManifest]]:
    """The archive as a workspace in a temporary folder, which is removed at the end, and its manifest.

    The file is read once, from its beginning to its end. Raises UserError where it is no such archive, where a member has no
    right to be there or is not as it was written, where a plug-in is not loaded, and where the temporary folder lacks the
    space.
    """
    try:
        parent = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise CannotWrite("there is no folder for temporary files", where=path, found=error.strerror,
                          do="name one in the variable TMPDIR") from error
    remove_leftovers(parent)
    with partial_folder(parent) as folder, blaming(path, folder):
        manifest = unpack(path, folder)
        check_plugins(path, manifest)
        yield Workspace(folder), manifest


@contextmanager
def blaming(path: Path, folder: Path) -> Iterator[None]:
    """Errors of a user, and what is logged, name the archive in the place of the temporary folder, which is gone when they
    are read.
    """
    def named(text: str) -> str:
        return text.replace(str(folder), str(path))

    def rename(record: logging.LogRecord) -> bool:
        if str(folder) in (message := record.getMessage()):
            record.msg, record.args = named(message), ()
        return True

    loggers = [logging.getLogger(package) for package in (None, "autoseg", "planners")]
    handlers = {handler for logger in loggers for handler in logger.handlers}
    for handler in handlers:
        handler.addFilter(rename)
    try:
        yield
    except ManyFaults as error:
        where, faults = named(str(error.where)), [named(fault) for fault in error.faults]
        raise ManyFaults(where, faults) from error
    except UserError as error:
        if str(folder) not in str(error):
            raise
        raise UserError(named(str(error))) from error
    finally:
        for handler in handlers:
            handler.removeFilter(rename)


def unpack(path: Path, folder: Path) -> ArchiveManifest:
    """Write the members of an archive into an empty folder; its manifest. Raises UserError as `opened`."""
    try:
        with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
            entries = _checked_entries(path, archive.infolist(), os.fstat(file.fileno()).st_size)
            manifest = _read_manifest(path, archive, entries)
            _check_space(path, folder, sum(member.size for member in manifest.members))
            for member in manifest.members:
                target = folder / member.name
                with writing(target):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(entries[member.name]) as source, open(target, "xb") as written:
                        _copy(path, member, source, written)
    except NOT_A_ZIP as error:
        raise UserError("the file is not a model in one file, or is damaged", where=path, found=error, do=_AGAIN) from error
    except OSError as error:
        raise UserError("the file cannot be read", where=path, found=error.strerror or error) from error
    return manifest


def check_plugins(path: Path, manifest: ArchiveManifest) -> None:
    """A UserError where the model needs parts of a module that nobody has imported: a file cannot make autoseg import it."""
    if missing := [name for name in manifest.plugins if name not in sys.modules]:
        raise UserError("the model needs parts of a plug-in, which is never loaded by itself", where=path,
                        found=listed(missing), do="get this module from whom you trust, read it, and name it: "
                                                  f"--plugin {missing[0]}")


def _checked_entries(path: Path, entries: Sequence[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    """The entries by name; a UserError where one is no plain file of ours."""
    if len(entries) > _MOST_MEMBERS:
        raise _refused(path, f"{len(entries)} members", f"at most {_MOST_MEMBERS}")
    for entry in entries:
        if fault := _fault(entry):
            raise _refused(path, f"{entry.orig_filename[:200]!r}: {fault}", "plain files of a model, stored as they are")
    if sum(entry.file_size for entry in entries) > size:
        raise _refused(path, "members that are larger together than the file", "members that do not overlap")
    names = {entry.filename: entry for entry in entries}
    if len(names) < len(entries):
        raise _refused(path, "two members of one name", "one")
    return names


def _fault(entry: zipfile.ZipInfo) -> str:
    """Why a member is refused; empty where it is not."""
    parts = entry.filename.split("/")
    if len(parts) > _MOST_FOLDERS:
        return "its path has too many folders"
    if fault := fault_of_entry(entry, parts):
        return fault
    if not entry.filename.endswith(_ENDINGS):
        return f"it is none of {', '.join(_ENDINGS)}"
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        return "it is compressed"
    return ""


def _refused(path: Path, found: str, expected: str) -> UserError:
    return UserError("the file is not as autoseg_export_model writes one, and is not opened", where=path, found=found,
                     expected=expected, do="ask for the file as it was exported")


def _read_manifest(path: Path, archive: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> ArchiveManifest:
    entry = entries.get(MANIFEST)
    if entry is None:
        raise _refused(path, f"no {MANIFEST}", "a model in one file")
    if entry.file_size > _MOST_MANIFEST_BYTES:
        raise _refused(path, f"{MANIFEST} of {entry.file_size >> 20} MiB", f"at most {_MOST_MANIFEST_BYTES >> 20} MiB")
    try:
        data = parse_json(archive.read(entry).decode("utf-8"))
        version = data.get("schema_version") if isinstance(data, dict) else None
        newest = ArchiveManifest.model_fields["schema_version"].default
        if isinstance(version, int) and version > newest:
            raise UserError("a later version of autoseg wrote this file", where=path, found=f"schema_version {version}",
                            expected=f"at most {newest}", do="update autoseg")
        manifest = ArchiveManifest.model_validate(data)
    except (UnicodeDecodeError, ValueError) as error:
        found = complaints_of(error) if isinstance(error, ValidationError) else error
        raise DamagedFile("the list of the file's members cannot be read", where=path, found=found, do=_AGAIN) from error
    if differing := {member.name for member in manifest.members} ^ (entries.keys() - {MANIFEST}):
        raise _refused(path, f"members and the list of them differ: {listed(sorted(differing))}", "the same")
    return manifest


def _check_space(path: Path, folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise CannotWrite("the folder for temporary files is too small to open the model", where=path,
                          found=f"{free >> 20} MiB free in {folder.parent}", expected=f"{(needed >> 20) + 1} MiB",
                          do="name another folder in the variable TMPDIR")


def _copy(path: Path, member: ArchiveMember, source: IO[bytes], target: IO[bytes]) -> None:
    """Write a member as far as its size goes; a UserError where it is not as its checksum says."""
    state, size = sha256(), 0
    while size <= member.size and (block := source.read(_BLOCK_BYTES)):
        state.update(block)
        target.write(block)
        size += len(block)
    if size != member.size or state.hexdigest() != member.sha256:
        raise DamagedFile("a member is not as it was exported: damaged, or changed", where=path,
                          found=f"{member.name} does not match its checksum", do=_AGAIN)


def take_models(tree: Workspace, dataset: str, workspace: Workspace, name: str) -> Path:
    """Move the models of a dataset from an unpacked workspace to another on the same disk, under a name; their folder."""
    target = workspace.models_root / name
    with writing(target):
        os.replace(tree.models_root / dataset, target)
    return target


def take_file(source: Path, target: Path) -> None:
    """Move a file of an unpacked archive, if it is there."""
    if source.is_file():
        with writing(target):
            os.replace(source, target)


@contextmanager
def unfinished_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside a file that is to be written, for what the file will hold; it is removed at the end."""
    check_writable(path.absolute().parent)
    remove_leftovers(path.absolute().parent)
    with partial_folder(path.absolute().parent) as folder:
        yield folder


def texts_of(folder: Path) -> Iterator[tuple[str, str]]:
    """The name of every file in a folder, and what it says in words: all of it, or of weights their header."""
    for file in sorted(file for file in folder.rglob("*") if file.is_file()):
        with open(file, "rb") as opened_file:
            length = int.from_bytes(opened_file.read(8), "little") if file.suffix == ".safetensors" else -1
            opened_file.seek(8 if length >= 0 else 0)
            yield file.relative_to(folder).as_posix(), opened_file.read(length).decode("utf-8", errors="replace")
