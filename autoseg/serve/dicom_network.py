"""DICOM over the network as parts of a running service: the server of DICOMweb, the listener, and deliveries to both."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from autoseg.serve.deliveries import DICOMWEB, Deliveries
from autoseg.serve.dicom_listener import Listener, PeerNode
from autoseg.serve.listener_settings import read_listener
from autoseg.serve.pacs import Pacs
from autoseg.serve.service import Service
from autoseg.workspace.jobs.deliveries import DeliveryStore
from autoseg.workspace.jobs.incoming import Incoming
from autoseg.workspace.jobs.spool import DATABASE

logger = logging.getLogger(__name__)

INCOMING = "incoming"  # folder of the spool
_PAUSE_SECONDS = 1.0  # between two rounds
_STOP_SECONDS = 10.0  # an attempt that is cut off is made again when the service starts


@contextmanager
def dicom_network(service: Service) -> Iterator[None]:
    """Start what the settings ask for, and stop it at the end; without such settings nothing is started.

    Routes find `pacs` and `deliveries` in the extras of the service. Raises UserError where the settings are wrong or a
    package is missing.
    """
    settings = service.settings
    if not settings.dicomweb and settings.dicom_listener is None:
        yield
        return
    store = DeliveryStore(settings.spool / DATABASE)
    store.remove_ended(2 * 3600 * settings.limits.result_hours)
    deliveries = Deliveries(store, service.jobs, service.spool, time.time)
    is_over, rounds = threading.Event(), [deliveries.deliver_due]
    service.extras["deliveries"] = deliveries
    if settings.dicomweb:
        service.extras["pacs"] = deliveries.destinations[DICOMWEB] = Pacs(settings.dicomweb)
    listener = None
    if settings.dicom_listener is not None:
        node = read_listener(settings.dicom_listener)
        deliveries.destinations.update({peer.ae_title: PeerNode(node.ae_title, peer) for peer in node.peers})
        listener = Listener(node, service, deliveries, Incoming(settings.spool / INCOMING))
        listener.start()
        rounds.append(listener.make_due)
    threads = [threading.Thread(target=_repeat, args=(a_round, is_over), daemon=True) for a_round in rounds]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        is_over.set()
        if listener is not None:
            listener.stop()
        for thread in threads:
            thread.join(_STOP_SECONDS)


def _repeat(a_round: Callable[[], None], is_over: threading.Event) -> None:
    """Deliver results, or make jobs of what has arrived, until the service ends."""
    while not is_over.wait(_PAUSE_SECONDS):
        try:
            a_round()
        except Exception:  # the next round may do better: a full disk, a database that is held for long
            logger.exception("a round of the DICOM network failed, and is tried again")
