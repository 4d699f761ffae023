"""A server of DICOMweb: studies are listed (QIDO-RS), fetched (WADO-RS) and stored (STOW-RS).

Only the address of the settings is asked. Redirects are refused, so that no server leads a request elsewhere. Whatever the
server answers is bounded in bytes and time before it is decoded. Nothing is logged that names a patient or a study.
"""

import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from autoseg.base.errors import UserError
from autoseg.formats.dicom.instances import is_uid, read_instance
from autoseg.workspace.jobs.receiving import ReceivedFile, Receiving
from autoseg.workspace.secret import read_line
from planners.schema.base import Frozen

AUTH, AUTH_FILE, AUTHORITIES = "AUTOSEG_DICOMWEB_AUTH", "AUTOSEG_DICOMWEB_AUTH_FILE", "REQUESTS_CA_BUNDLE"
_MOST_JSON_BYTES = 2**24  # of an answer that is not images
_BLOCK_BYTES = 2**18
_MOST_HEADER_BYTES = 2**14  # of all headers of one part
_TIMEOUT = (10.0, 60.0)  # seconds to connect, and of silence
_MOST_SECONDS = 1800.0  # of one answer
_MOST_STUDIES = 100  # that are listed
_LIBRARIES = ("dicomweb_client", "urllib3", "retrying")  # they log addresses, which hold UIDs and numbers of patients
_LISTED = {"study": "0020000D", "date": "00080020", "description": "00081030", "patient_id": "00100020",
           "modalities": "00080061", "n_series": "00201206", "n_instances": "00201208"}


class PacsError(UserError):
    """The server of DICOMweb does not do what it was asked."""


class UnknownStudy(UserError):
    """The server has no such study."""


class PacsStudy(Frozen):
    """A study that the server has. Texts are empty, and counts None, where it does not say."""

    study: str
    date: str = ""
    description: str = ""
    patient_id: str = ""
    modalities: tuple[str, ...] = ()
    n_series: int | None = None
    n_instances: int | None = None


class Pacs:
    """A server of DICOMweb by its address. Each call is a connection of its own, so that threads may share it."""

    def __init__(self, url: str, environment: Mapping[str, str] = os.environ) -> None:
        """Raises UserError where the address or the authorisation in the environment is not valid, or a package is
        missing.
        """
        self._url = _checked_url(url)
        self._authorization = _authorization(environment)
        self._authorities = environment.get(AUTHORITIES, "")
        self._library()
        for name in _LIBRARIES:
            logging.getLogger(name).setLevel(logging.CRITICAL)

    def studies(self, filters: Mapping[str, str]) -> tuple[PacsStudy, ...]:
        """The studies that match, by DICOM keywords; at most a hundred. Raises PacsError."""
        with _Asked() as asked:
            found = self._client(asked, _MOST_JSON_BYTES).search_for_studies(
                search_filters=dict(filters), fields=list(_LISTED.values()), limit=_MOST_STUDIES)
            entries = [_listed(entry) for entry in found[:_MOST_STUDIES]]
        return tuple(entry for entry in entries if is_uid(entry.study))

    def study_of(self, series: str) -> str:
        """The StudyInstanceUID of a series. Raises UnknownStudy where the server has no such series, and PacsError."""
        with _Asked() as asked:
            found = self._client(asked, _MOST_JSON_BYTES).search_for_series(
                search_filters={"SeriesInstanceUID": series}, limit=2)
            studies = {uid for entry in found if _values(entry, "0020000E") == [series]
                       for uid in _values(entry, _LISTED["study"])}
        if len(studies) != 1 or not is_uid(study := studies.pop()):
            raise UnknownStudy("the server has no such series")
        return study

    def fetch(self, study: str, receiving: Receiving, most_bytes: int, series: str = "") -> list[ReceivedFile]:
        """The instances of a study, or of one series of it, as files, each written while it comes. Raises UnknownStudy,
        PacsError, and TooLarge as `Receiving` does.
        """
        if not is_uid(study) or (series and not is_uid(series)):
            raise UserError("this is no UID of a study or a series", expected="numbers and dots")
        with _Asked() as asked:
            session = asked.session(self._headers(), self._authorities, most_bytes + _MOST_JSON_BYTES)
            path = f"/studies/{study}" + (f"/series/{series}" if series else "")
            answer = session.get(f"{self._url}{path}", stream=True, timeout=_TIMEOUT, headers={
                "Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*'})
            if answer.status_code in (404, 410):
                raise UnknownStudy("the server has no such study")
            answer.raise_for_status()
            files = _instances(answer, receiving)
        if not files:
            raise UnknownStudy("the server sent no instance of the study")
        return files

    def store(self, path: Path) -> None:
        """Store an instance. Raises PacsError where it is not stored, for whatever reason."""
        dataset = read_instance(path)
        with _Asked() as asked:
            answer = self._client(asked, _MOST_JSON_BYTES).store_instances([dataset])
            if failures := answer.get("FailedSOPSequence"):
                raise PacsError("the server did not store the instance", found=f"reason {failures[0].get('FailureReason')}")

    def has(self, path: Path) -> bool:
        """Whether the server has an instance already. Raises PacsError."""
        header = read_instance(path)
        study, instance = (str(header.get(keyword) or "") for keyword in ("StudyInstanceUID", "SOPInstanceUID"))
        with _Asked() as asked:
            found = self._client(asked, _MOST_JSON_BYTES).search_for_instances(
                study_instance_uid=study or None, limit=1, search_filters={"SOPInstanceUID": instance})
        return any(_values(entry, "00080018") == [instance] for entry in found)

    def _client(self, asked: "_Asked", most_bytes: int) -> Any:
        client = self._library()(self._url, session=asked.session(self._headers(), self._authorities, most_bytes),
                                 timeout=_TIMEOUT)
        client.set_http_retry_params(retry=False)  # deliveries are tried again, with longer pauses
        return client

    def _headers(self) -> dict[str, str]:
        accept = {"Accept": "application/dicom+json"}
        return {**accept, "Authorization": self._authorization} if self._authorization else accept

    def _library(self) -> Any:
        try:
            from dicomweb_client.api import DICOMwebClient
        except ImportError:
            raise UserError("DICOMweb was asked for, and the package dicomweb-client is not installed",
                            do="pip install 'autoseg-pipeline[dicomweb]'") from None
        return DICOMwebClient


class _Asked:
    """One question to the server: its session is closed at the end, and what libraries raise becomes PacsError."""

    def __init__(self) -> None:
        self._sessions: list[Any] = []

    def session(self, headers: Mapping[str, str], authorities: str, most_bytes: int) -> Any:
        import requests

        session = requests.Session()
        session.trust_env = False  # neither the passwords of .netrc nor proxies are used
        session.verify = authorities or True
        session.headers.update(headers)
        session.hooks["response"] = [lambda answer, *_, **__: _bounded(answer, most_bytes)]
        self._sessions.append(session)
        return session

    def __enter__(self) -> "_Asked":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        for session in self._sessions:
            session.close()
        if error is None or isinstance(error, UserError) or not isinstance(error, Exception):
            return
        answer = getattr(error, "response", None)
        status = getattr(answer, "status_code", None)
        found = type(error).__name__ if status is None else f"status {status}"  # its own text holds the address
        raise PacsError("the server of DICOMweb does not answer as it should", found=found) from None


def _bounded(answer: Any, most_bytes: int) -> Any:
    """The same answer, whose body ends in PacsError where it is too long or too slow. Redirects are refused."""
    if answer.is_redirect:
        raise PacsError("the server leads elsewhere, which is not followed", found=f"status {answer.status_code}",
                        do="give the service the final address")
    answer.raw = _Bounded(answer.raw, most_bytes)
    return answer


class _Bounded:
    """The body of an answer, in blocks, after it is unpacked."""

    def __init__(self, raw: Any, most_bytes: int) -> None:
        self._raw, self._most_bytes, self._deadline = raw, most_bytes, time.monotonic() + _MOST_SECONDS

    def stream(self, n_bytes: int, decode_content: bool = True) -> Iterator[bytes]:
        n_read = 0
        for block in self._raw.stream(min(n_bytes, _BLOCK_BYTES), decode_content=decode_content):
            n_read += len(block)
            if n_read > self._most_bytes:
                raise PacsError("the answer of the server is too long", expected=f"at most {self._most_bytes} bytes")
            if time.monotonic() > self._deadline:
                raise PacsError("the answer of the server takes too long", expected=f"at most {_MOST_SECONDS:g} s")
            yield block

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)


class _Parts:
    """Writes the parts of multipart/related to files as they come."""

    def __init__(self, receiving: Receiving) -> None:
        self.files: list[ReceivedFile] = []
        self.is_whole = False
        self._receiving, self._n_header_bytes = receiving, 0

    def callbacks(self) -> Any:
        return {"on_part_begin": self._begin, "on_part_end": lambda: self.files.append(self._receiving.end()),
                "on_part_data": lambda data, start, end: self._receiving.write(data[start:end]),
                "on_header_field": self._header, "on_header_value": self._header, "on_end": self._end}

    def _begin(self) -> None:
        self._n_header_bytes = 0
        self._receiving.begin(f"{len(self.files)}.dcm")

    def _header(self, _: bytes, start: int, end: int) -> None:
        self._n_header_bytes += end - start
        if self._n_header_bytes > _MOST_HEADER_BYTES:
            raise PacsError("a part of the answer has endless headers")

    def _end(self) -> None:
        self.is_whole = True


def _instances(answer: Any, receiving: Receiving) -> list[ReceivedFile]:
    """The parts of an answer as files. Raises PacsError where it is no multipart message, or is cut short."""
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import MultipartParser, parse_options_header

    kind, options = parse_options_header(answer.headers.get("Content-Type", ""))
    if kind.lower() != b"multipart/related" or not options.get(b"boundary"):
        raise PacsError("the server does not answer with instances of DICOM", found=kind.decode("latin-1")[:80],
                        expected="multipart/related", do="check the address: it is the root of DICOMweb")
    parts = _Parts(receiving)
    try:
        parser = MultipartParser(options[b"boundary"], parts.callbacks())
        for block in answer.iter_content(_BLOCK_BYTES):
            parser.write(block)
        parser.finalize()
    except FormParserError:
        raise PacsError("the answer of the server is no valid multipart message") from None
    finally:
        receiving.close()
    if not parts.is_whole:
        raise PacsError("the answer of the server is cut short")
    return parts.files


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_valid = False
    if not is_valid or parts.username is not None or parts.query or parts.fragment:
        raise UserError("the address of the DICOMweb server is not valid", expected="http(s)://HOST[:PORT]/PATH, without a "
                        f"password in it (that is {AUTH})")
    return url.rstrip("/")


def _authorization(environment: Mapping[str, str]) -> str:
    """The header of this name; empty: the server asks for none."""
    import base64

    text = environment.get(AUTH, "")
    if not text and (path := environment.get(AUTH_FILE)):
        text = read_line(Path(path))
    kind, _, value = text.strip().partition(" ")
    if not text.strip():
        return ""
    if kind.lower() == "bearer" and value and value.isascii() and value.isprintable():
        return f"Bearer {value}"
    if kind.lower() == "basic" and ":" in value:
        return f"Basic {base64.b64encode(value.encode()).decode()}"
    raise UserError("the authorisation for the DICOMweb server is not valid", where=AUTH,
                    expected="bearer TOKEN, or basic USER:PASSWORD")


def _listed(entry: Any) -> PacsStudy:
    texts = {name: _values(entry, tag) for name, tag in _LISTED.items()}
    counts = {name: int(texts[name][0]) if texts[name] and texts[name][0].isdecimal() else None
              for name in ("n_series", "n_instances")}
    return PacsStudy(modalities=tuple(texts["modalities"]), n_series=counts["n_series"], n_instances=counts["n_instances"],
                     **{name: "".join(texts[name][:1]) for name in ("study", "date", "description", "patient_id")})


def _values(entry: Any, tag: str) -> list[str]:
    """The values of an element of DICOM's JSON as short texts; none where the entry is built otherwise."""
    element = entry.get(tag) if isinstance(entry, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return [str(value)[:256] for value in values[:20] if isinstance(value, str | int | float)] \
        if isinstance(values, list) else []
