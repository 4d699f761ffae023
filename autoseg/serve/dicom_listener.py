"""A DICOM node: it takes studies by C-STORE from the peers of a file, and sends results to them by C-STORE.

What comes during an association is one unit: it is kept when the peer releases the association, before the service agrees,
and gone where the association breaks off. Nothing is logged that names a patient or a study.
"""

import logging
import socket
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autoseg.base.errors import AutosegError, TooLarge, UserError
from autoseg.formats.dicom.instances import facts_of_instance
from autoseg.serve.deliveries import Deliveries, input_files_of
from autoseg.serve.listener_settings import ListenerSettings, Peer
from autoseg.serve.service import Service
from autoseg.workspace.jobs.incoming import Arrived, ArrivingStudy, Incoming
from autoseg.workspace.jobs.receiving import Receiving
from autoseg.workspace.jobs.types import JobRequest

logger = logging.getLogger(__name__)

_SUCCESS, _NOT_AUTHORIZED, _OUT_OF_RESOURCES, _CANNOT_UNDERSTAND = 0x0000, 0x0124, 0xA700, 0xC000  # DICOM PS3.4, B.2.3
_MOST_INSTANCE_BYTES = 2**29  # one is in memory while it comes
_SECONDS = 60.0  # of silence


def pynetdicom() -> Any:
    """The package. Raises UserError where it is not installed."""
    try:
        import pynetdicom
    except ImportError:
        raise UserError("a DICOM listener was asked for, and the package pynetdicom is not installed",
                        do="pip install 'autoseg-pipeline[dicom_listener]'") from None
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)  # it logs what identifies patients
    return pynetdicom


class PeerNode:
    """A peer as a destination of results."""

    def __init__(self, own_title: str, peer: Peer) -> None:
        self._own_title, self._peer = own_title, peer

    def store(self, path: Path) -> None:
        """Send an instance by C-STORE. Raises UserError where the peer does not take it now."""
        facts = facts_of_instance(path)
        node = pynetdicom().AE(ae_title=self._own_title)
        node.acse_timeout = node.dimse_timeout = node.network_timeout = node.connection_timeout = _SECONDS
        node.add_requested_context(facts.sop_class, facts.transfer_syntax)
        association = node.associate(self._peer.host, self._peer.port, ae_title=self._peer.ae_title)
        if not association.is_established:
            raise UserError("the peer does not accept the association", where=self._peer.ae_title)
        try:
            status = association.send_c_store(path)
        except (ValueError, RuntimeError) as error:  # a context that was refused; a connection that broke
            raise UserError("the peer does not take the instance", where=self._peer.ae_title,
                            found=type(error).__name__) from None
        finally:
            association.release()
        code = status.get("Status", -1)
        if code != _SUCCESS and code >> 12 != 0xB:  # warnings: it is stored
            raise UserError("the peer did not store the instance", where=self._peer.ae_title,
                            found=f"status 0x{code:04X}" if code >= 0 else "no answer")

    def has(self, _: Path) -> bool:
        """Not known: the same instance again replaces the first one, or is left out, by its UID."""
        return False


@dataclass
class _Arriving:
    """What comes during one association: its folder, its files by study, and its bytes since the last instance."""

    sender: str
    stack: ExitStack
    receiving: Receiving
    files: dict[ArrivingStudy, list[Path]] = field(default_factory=dict)


class Listener:
    """The node that takes studies. `start` binds the port, `make_due` makes jobs of what has arrived."""

    def __init__(self, settings: ListenerSettings, service: Service, deliveries: Deliveries, incoming: Incoming) -> None:
        """Raises UserError where a rule names a model that there is not, or the host of a peer is not known."""
        self._settings, self._service, self._deliveries = settings, service, deliveries
        self._incoming, self._lock = incoming, threading.Lock()
        self._arriving: dict[Any, _Arriving] = {}
        self._n_bytes: dict[Any, int] = {}
        self._server: Any = None
        self._addresses = {peer.ae_title: _addresses(peer) for peer in settings.peers}
        for rule in settings.rules:
            if service.catalogue.find(rule.model) is None:
                raise UserError("a rule of the DICOM listener names a model that is not served", found=rule.model)

    @property
    def port(self) -> int:
        """The port on which it listens."""
        return int(self._server.socket.getsockname()[1])

    def start(self) -> None:
        """Listen. Raises UserError where the port cannot be bound."""
        package = pynetdicom()
        evt = package.evt
        node = package.AE(ae_title=self._settings.ae_title)
        node.require_called_aet = True
        node.require_calling_aet = [peer.ae_title for peer in self._settings.peers]
        node.maximum_associations = self._settings.associations
        node.acse_timeout = node.dimse_timeout = node.network_timeout = _SECONDS
        for context in package.AllStoragePresentationContexts:
            node.add_supported_context(context.abstract_syntax, package.ALL_TRANSFER_SYNTAXES)
        node.add_supported_context("1.2.840.10008.1.1")  # verification: C-ECHO
        handlers = [(evt.EVT_C_ECHO, self._echo), (evt.EVT_C_STORE, self._store), (evt.EVT_DATA_RECV, self._count),
                    (evt.EVT_PDU_RECV, self._released), (evt.EVT_ABORTED, self._gone), (evt.EVT_CONN_CLOSE, self._gone)]
        try:
            self._server = node.start_server((self._settings.host, self._settings.port), block=False, evt_handlers=handlers)
        except OSError as error:
            raise UserError("the DICOM listener cannot bind its port", where=f"{self._settings.host}:{self._settings.port}",
                            found=error.strerror) from None

    def stop(self) -> None:
        """Listen no longer; what comes just now is gone."""
        if self._server is not None:
            self._server.shutdown()
        for association in list(self._arriving):
            self._discard(association)

    def make_due(self) -> None:
        """A job for each study of which nothing more came for a while. Where the queue is full, it waits."""
        with self._lock:  # what comes meanwhile waits: it is not removed with a folder that has become a job
            for arrived in self._incoming.quiet(self._settings.quiet_seconds):
                queued = self._service.jobs.counts().get("queued", 0)
                if queued >= self._service.settings.limits.queued:
                    logger.warning("the queue is full: studies that arrived by DICOM wait")
                    return
                self._make(arrived)
                self._incoming.remove(arrived.job_id)

    def _make(self, arrived: Arrived) -> None:
        rule = self._settings.rule_for(arrived.study.sender, arrived.study.description)
        if rule is None:
            logger.warning("a study from %s fits no rule of the DICOM listener, and is removed", arrived.study.sender)
            return
        if self._service.jobs.get(arrived.job_id) is not None:  # before a restart
            return
        with self._service.spool.receiving() as folder:
            self._incoming.link(arrived, folder)
            files = input_files_of(arrived.sizes)
            request = JobRequest(client=f"dicom-{arrived.study.sender}", model=rule.model, kind="study", files=files)
            self._deliveries.accept(request, arrived.job_id, folder,
                                    (rule.send_to, rule.form) if rule.send_to else None)
        logger.info("job %s: a study of %d files from %s", arrived.job_id, len(files), arrived.study.sender)

    def _echo(self, event: Any) -> int:
        return _SUCCESS if self._may(event.assoc) else _NOT_AUTHORIZED

    def _store(self, event: Any) -> int:
        """Write an instance. Nothing of it names a file."""
        self._n_bytes[event.assoc] = 0
        if not self._may(event.assoc):
            return _NOT_AUTHORIZED
        arriving = self._arriving.get(event.assoc) or self._open(event.assoc)
        try:
            arriving.receiving.begin("instance.dcm")
            arriving.receiving.write(event.encoded_dataset())
            path = arriving.receiving.end().path
            facts = facts_of_instance(path)
        except TooLarge:
            logger.warning("%s sends more than the limits of the service allow", arriving.sender)
            return _OUT_OF_RESOURCES
        except UserError:
            return _CANNOT_UNDERSTAND
        except OSError:
            logger.exception("an instance could not be written")
            return _OUT_OF_RESOURCES
        finally:
            arriving.receiving.close()
        study = ArrivingStudy(sender=arriving.sender, study=facts.study, patient=facts.patient,
                              description=facts.study_description)
        if self._settings.rule_for(study.sender, study.description) is None:
            logger.warning("%s sends a study that fits no rule of the DICOM listener", study.sender)
            return _CANNOT_UNDERSTAND
        known = next((other for other in arriving.files if other.is_same(study)), study)
        arriving.files.setdefault(known, []).append(path)
        return _SUCCESS

    def _open(self, association: Any) -> _Arriving:
        stack, limits = ExitStack(), self._service.settings.limits
        folder = stack.enter_context(self._service.spool.receiving())
        arriving = _Arriving(association.requestor.ae_title, stack, Receiving(folder, limits.upload_bytes, limits.files))
        self._arriving[association] = arriving
        return arriving

    def _may(self, association: Any) -> bool:
        """Whether the peer sends from its own address: a title alone can be claimed by anybody."""
        return association.requestor.address in self._addresses.get(association.requestor.ae_title, ())

    def _count(self, event: Any) -> None:
        """Break off where one instance has no end."""
        self._n_bytes[event.assoc] = self._n_bytes.get(event.assoc, 0) + len(event.data)
        if self._n_bytes[event.assoc] > min(_MOST_INSTANCE_BYTES, 2 * self._service.settings.limits.upload_bytes):
            self._n_bytes[event.assoc] = 0
            self._break_off(event.assoc)

    def _released(self, event: Any) -> None:
        """The peer asks to release the association: what it sent is kept before the answer."""
        if type(event.pdu).__name__ != "A_RELEASE_RQ":
            return
        arriving = self._arriving.get(event.assoc)
        if arriving is None:
            return
        try:
            with self._lock:
                for study, files in arriving.files.items():
                    self._incoming.add(study, files)
        except (AutosegError, OSError):
            logger.exception("what came in an association could not be kept")
            self._break_off(event.assoc)
        self._discard(event.assoc)

    def _gone(self, event: Any) -> None:
        self._discard(event.assoc)

    def _discard(self, association: Any) -> None:
        """Remove what is left of an association."""
        self._n_bytes.pop(association, None)
        if arriving := self._arriving.pop(association, None):
            arriving.receiving.close()
            with suppress(OSError, AutosegError):
                arriving.stack.close()

    def _break_off(self, association: Any) -> None:
        """Abort from another thread: this one serves the connection."""
        threading.Thread(target=association.abort, daemon=True).start()


def _addresses(peer: Peer) -> Sequence[str]:
    try:
        return sorted({str(entry[4][0]) for entry in socket.getaddrinfo(peer.host, None)})
    except OSError:
        raise UserError("the host of a peer of the DICOM listener is not known", where=peer.ae_title,
                        found=peer.host[:100]) from None
