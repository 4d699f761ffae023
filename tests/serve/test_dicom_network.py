"""DICOM over the network as parts of a running service."""

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("dicomweb_client")
pytest.importorskip("pynetdicom")
import time

import pynetdicom

from autoseg.serve.dicom_network import dicom_network
from autoseg.serve.listener_settings import ListenerSettings, Peer, Rule
from autoseg.workspace.files import write_json
from dicom_studies import CLASSES, PLAIN, truth, write_series
from pacs_server import pacs_server
from serve_support import service_in


def test_without_settings_nothing_is_started(tmp_path):
    service = service_in(tmp_path)
    with dicom_network(service):
        assert "deliveries" not in service.extras and not (tmp_path / "spool" / "incoming").exists()


def test_a_study_that_is_sent_becomes_a_job_of_the_running_service(tmp_path, unused_port):
    peer = Peer(ae_title="SCANNER", host="127.0.0.1")
    write_json(tmp_path / "listener.json", ListenerSettings(
        ae_title="AUTOSEG", port=unused_port, quiet_seconds=0, peers=(peer,),
        rules=(Rule(model="brain", send_to="dicomweb"),)))
    with pacs_server() as (_, url):
        service = service_in(tmp_path, dicomweb=url, dicom_listener=tmp_path / "listener.json")
        with dicom_network(service):
            entity = pynetdicom.AE(ae_title="SCANNER")
            entity.add_requested_context(CLASSES["CT"], PLAIN)
            association = entity.associate("127.0.0.1", unused_port, ae_title="AUTOSEG")
            for path in write_series(tmp_path / "series", truth()):
                assert association.send_c_store(path).Status == 0
            association.release()
            for _ in range(100):
                if jobs := service.jobs.of_client("dicom-SCANNER"):
                    break
                time.sleep(0.05)
            delivery = service.extras["deliveries"].of_job(jobs[0].id)
    assert jobs[0].request.model == "brain" and (delivery.destination, delivery.state) == ("dicomweb", "waiting")


@pytest.fixture
def unused_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
