"""What a form with files asks for: checked against the model, before a job is accepted."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from autoseg.base.errors import hint, listed
from autoseg.formats.content import ZIP, ending_of_content
from autoseg.serve.problems import refused
from autoseg.serve.served import ServedModel
from autoseg.workspace.files import parse_json
from autoseg.workspace.jobs.receiving import ReceivedFile, Receiving
from autoseg.workspace.jobs.types import InputFile, JobRequest
from planners.schema.channels import MODALITY_WORDS, modality_of_cell

IMAGES = "NIfTI (.nii, .nii.gz), NRRD, MHA, DICOM, or a zip of them"
_NUMBER = re.compile(r"_(\d{4})(?=\.|$)")  # of the channel, before the ending of a client's file name
_UID = re.compile(r"[0-9.]{1,64}(:[0-9]{1,4})?")  # of a series with several volumes, with the number of one
_MOST_TEXT = 500  # characters of a cell
_TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def with_endings(files: Sequence[ReceivedFile], receiving: Receiving, unpacked_bytes: int) -> list[tuple[ReceivedFile, str]]:
    """The files with their endings, by their first bytes; a zip's files take its place. Raises what is to be answered where
    a file is no image, and what `Receiving.unzip` raises. What else lies in a zip beside images is left out.
    """
    found: list[tuple[ReceivedFile, str]] = []
    for file in files:
        ending = ending_of_content(file.path)
        if not ending:
            raise refused(415, "the file is not an image that can be read", where=file.shown, expected=IMAGES)
        if ending != ZIP:
            found.append((file, ending))
            continue
        inside = [(entry, ending_of_content(entry.path)) for entry in receiving.unzip(file, unpacked_bytes)]
        images = [(entry, ending) for entry, ending in inside if ending not in ("", ZIP)]
        if not images:
            raise refused(415, "the zip holds no image", where=file.shown, expected=IMAGES)
        found += images
    if not found:
        raise refused(422, "the request has no file", expected=f"a part `files`: {IMAGES}")
    return found


Kept = tuple[tuple[Path, InputFile], ...]


def input_files(files: Sequence[tuple[ReceivedFile, str]], model: ServedModel, texts: Mapping[str, str]
                ) -> tuple[Literal["images", "study"], Kept]:
    """What the files are together, and which channel each is. Raises what is to be answered where they do not fit."""
    endings = {ending for _, ending in files}
    if ".dcm" in endings and len(endings) > 1:
        raise refused(422, "DICOM and other images came together", found=listed(sorted(endings)),
                      expected="one study of DICOM, or an image per channel")
    if endings == {".dcm"}:
        return "study", _numbered(files, [""] * len(files))
    channels = channels_of([file.shown for file, _ in files], model, texts)
    check_channels([channel for channel in channels if channel is not None], model)
    return "images", _numbered(files, channels)


def _numbered(files: Sequence[tuple[ReceivedFile, str]], channels: Sequence[str | None]) -> Kept:
    kept = [(file, ending, channel) for (file, ending), channel in zip(files, channels, strict=True) if channel is not None]
    return tuple((file.path, InputFile(number=number, channel=channel, shown=file.shown, n_bytes=file.n_bytes,
                                       ending=ending)) for number, (file, ending, channel) in enumerate(kept))


def renamed_channels(request: JobRequest, model: ServedModel, texts: Mapping[str, str]) -> tuple[InputFile, ...]:
    """The files of another job as a model takes them: by `channels`, else by the channels that they were, where the model
    has these. What it has no channel for is left out. Raises what is to be answered as `input_files`.
    """
    if request.kind == "study":
        return request.files
    if "channels" in texts:
        said = channels_of([file.shown for file in request.files], model, texts)
    else:
        known = {channel.name for channel in model.channels}
        said = [file.channel if file.channel in known else None for file in request.files]
        if len(known) == 1 and len(request.files) == 1:
            said = list(known)
    check_channels([channel for channel in said if channel is not None], model)
    return tuple(file.model_copy(update={"channel": channel})
                 for file, channel in zip(request.files, said, strict=True) if channel is not None)


def channels_of(names: Sequence[str], model: ServedModel, texts: Mapping[str, str]) -> list[str | None]:
    """The channel of each file; None: it is left out."""
    known = [channel.name for channel in model.channels]
    if "channels" in texts:
        said = json_field(texts, "channels", list)
        if len(said) != len(names):
            raise refused(422, "channels does not name one channel per file", where="channels", found=f"{len(said)}",
                          expected=f"{len(names)}: a channel's name, or null, for each file")
        for name in said:
            if name is not None and name not in known:
                raise refused(422, f"the model has no channel {str(name)[:80]!r}{hint(name, known)}", where="channels",
                              expected=listed(known, len(known)))
        return list(said)
    if len(known) == 1 and len(names) == 1:
        return [known[0]]
    by_number = {channel.number: channel.name for channel in model.channels}
    numbers = [match and int(match[1]) for match in map(_NUMBER.search, names)]
    if any(number not in by_number for number in numbers):
        raise refused(422, "nobody says which file is which channel", where="channels", found=listed(names),
                      expected=f"a JSON list with one of {listed(known, len(known))}, or null, for each file; or names that "
                               "end with the channel's number, such as _0000")
    return [by_number[number] for number in numbers if number is not None]


def check_channels(given: Sequence[str], model: ServedModel) -> None:
    """Raises what is to be answered where a channel is twice there, or one that the model cannot do without is missing."""
    twice = sorted({name for name in given if list(given).count(name) > 1})
    if twice:
        raise refused(422, "two files are the same channel", where="channels", found=listed(twice),
                      expected="one file per channel")
    missing = [channel.name for channel in model.channels if channel.required and channel.name not in given]
    if missing or not given:
        names = [channel.name for channel in model.channels]
        raise refused(422, f"the model needs the channel {listed(missing or names)}", where="files",
                      found=listed(given) or "no image",
                      expected=", ".join(channel.name + ("" if channel.required else " (may be missing)")
                                         for channel in model.channels))


def job_request(client: str, model: ServedModel, kind: Literal["images", "study"], files: tuple[InputFile, ...],
                texts: Mapping[str, str]) -> JobRequest:
    """The request of a job. Raises what is to be answered where a field of the form is wrong."""
    modality = texts.get("modality", "").strip()
    row = row_of(texts, model)
    if modality and not modality_of_cell(modality):
        raise refused(422, "the modality is not known", where="modality", found=modality[:80], expected=MODALITY_WORDS)
    if model.modality_channels and kind == "images" and not modality:
        raise refused(422, f"the model takes several modalities as {listed(model.modality_channels)}, and nobody says which "
                           "one this is", where="modality", expected=MODALITY_WORDS)
    return JobRequest(client=client, model=model.name, kind=kind, files=files, row=row, series=series_of(texts, model),
                      modality=modality, uncertainty=_truth(texts, "uncertainty", default=True))


def row_of(texts: Mapping[str, str], model: ServedModel) -> dict[str, str | float | None]:
    """What is known of the patient, by the columns of the model. Raises what is to be answered for what it does not take."""
    said = json_field(texts, "row", dict) if "row" in texts else {}
    columns = {column.name: column for column in model.columns}
    row: dict[str, str | float | None] = {}
    for name, value in said.items():
        if name not in columns:
            raise refused(422, f"the model has no column {name[:80]!r}{hint(name, columns)}", where="row",
                          expected=listed(columns, len(columns)) or "none: it takes images alone")
        if value is None or value == "":
            row[name] = None
        elif isinstance(value, bool) or not isinstance(value, str | int | float) or len(str(value)) > _MOST_TEXT:
            raise refused(422, "a value of the row is no number and no text", where=f"row, {name}", found=str(value)[:80])
        elif columns[name].kind == "number":
            row[name] = _number(name, value)
        else:
            row[name] = value if isinstance(value, str) else float(value)
    return row


def _number(name: str, value: str | float) -> float:
    try:
        number = float(value)
    except (ValueError, OverflowError):
        number = float("nan")
    if not abs(number) < float("inf"):
        raise refused(422, "a value of the row is no number", where=f"row, {name}", found=str(value)[:80])
    return number


def series_of(texts: Mapping[str, str], model: ServedModel) -> dict[str, str]:
    """The series that the client names for channels. Raises what is to be answered where these are no UIDs or channels."""
    return checked_series(json_field(texts, "series", dict), [channel.name for channel in model.channels]) \
        if "series" in texts else {}


def checked_series(said: Mapping[str, Any], channels: Collection[str]) -> dict[str, str]:
    """The same, where all of it are channels and unique identifiers of DICOM; raises what is to be answered otherwise."""
    for channel, uid in said.items():
        if channel not in channels:
            raise refused(422, f"the model has no channel {channel[:80]!r}{hint(channel, channels)}", where="series",
                          expected=listed(channels, len(channels)))
        if not (isinstance(uid, str) and _UID.fullmatch(uid)):
            raise refused(422, "this is no SeriesInstanceUID", where=f"series, {channel}", found=str(uid)[:80])
    return dict(said)


def json_field(texts: Mapping[str, str], name: str, kind: type[Any]) -> Any:
    """The JSON of a field. Raises what is to be answered where it is none, or no list or object as `kind` says."""
    try:
        value = parse_json(texts[name])
    except json.JSONDecodeError as error:
        raise refused(422, "the field is no JSON", where=name, found=f"{error.msg} at column {error.colno}") from None
    if not isinstance(value, kind):
        raise refused(422, "the field is JSON of another kind", where=name, found=type(value).__name__,
                      expected="a list" if kind is list else "an object")
    return value


def _truth(texts: Mapping[str, str], name: str, *, default: bool) -> bool:
    if name not in texts:
        return default
    text = texts[name].strip().lower()
    if text not in _TRUTHS:
        raise refused(422, "the field is neither true nor false", where=name, found=text[:80])
    return _TRUTHS[text]
