"""Real studies over the network to a service with a worker, and their masks back; also where the service is killed."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("dicomweb_client")
pytest.importorskip("highdicom")
pytest.importorskip("pynetdicom")
pytest.importorskip("httpx")
import httpx
import pydicom
import pynetdicom

from autoseg.cli import predict
from autoseg.formats import read_label
from autoseg.formats.dicom import find_stacks
from autoseg.formats.segments import read_segments
from autoseg.serve.listener_settings import ListenerSettings, Peer, Rule
from autoseg.workspace.files import write_json
from autoseg.workspace.jobs.deliveries import DeliveryStore
from autoseg.workspace.jobs.spool import Spool
from autoseg.workspace.jobs.store import JobStore
from pacs_server import pacs_server
from planners.schema.channels import ChannelSpec
from tests_support import SPHERES
from worker_support import NAME, write_model

pytestmark = pytest.mark.slow

CHANNELS = (ChannelSpec(name="CT", reference=True), ChannelSpec(name="PET", registration="regrid"),
            ChannelSpec(name="MR_T1", registration="regrid", required=False))
SENT, FETCHED = "STS_002", "STS_008"  # by C-STORE, and by DICOMweb
MOST_SECONDS = 180
SEG = "1.2.840.10008.5.1.4.1.1.66.4"


class Study:
    """A study of the samples, and the mask that `autoseg_predict` makes of it. [labels, D H W]"""

    def __init__(self, samples, patient, folder, home):
        self.paths = sorted(samples.glob(f"{patient}/*/image/*.dcm"))
        study = folder / patient
        study.mkdir()
        for number, path in enumerate(self.paths):
            (study / f"{number}.dcm").symlink_to(path)
        self.uid = str(pydicom.dcmread(self.paths[0], stop_before_pixels=True).StudyInstanceUID)
        self.stack = next(stack for stack in find_stacks(self.paths) if stack.facts.modality == "CT")
        assert predict.main(["-i", str(study), "-o", str(folder / f"{patient}.nii.gz"), "-d", NAME, "--home", str(home),
                             "--device", "cpu"]) == 0
        self.label_DHW = read_label(folder / f"{patient}.nii.gz")[0]

    def check(self, content, path):
        """The content of a SEG is the mask, voxel for voxel."""
        path.write_bytes(content)
        segments = read_segments(path, self.stack)
        assert segments and set(segments) <= set(SPHERES.foreground)
        for name in SPHERES.foreground:
            expected = np.isin(self.label_DHW, SPHERES.names[name])
            np.testing.assert_array_equal(segments.get(name, np.zeros_like(expected)), expected)


class Node:
    """A DICOM node that sends studies and takes results."""

    def __init__(self):
        self.stored, self.refuses, self.holds, self.is_free = [], False, threading.Event(), threading.Event()
        self.is_free.set()
        entity = pynetdicom.AE(ae_title="SCANNER")
        entity.add_supported_context(SEG)
        self.server = entity.start_server(("127.0.0.1", 0), block=False,
                                          evt_handlers=[(pynetdicom.evt.EVT_C_STORE, self._store)])
        self.port = self.server.socket.getsockname()[1]

    def _store(self, event):
        if self.refuses:
            return 0xA700
        self.stored.append(event.encoded_dataset())
        if not self.is_free.is_set():
            self.holds.set()
            self.is_free.wait(MOST_SECONDS)
        return 0

    def send(self, port, paths):
        entity = pynetdicom.AE(ae_title="SCANNER")
        for path in {pydicom.dcmread(path, stop_before_pixels=True).SOPClassUID: path for path in paths}.values():
            header = pydicom.dcmread(path, stop_before_pixels=True)
            entity.add_requested_context(header.SOPClassUID, header.file_meta.TransferSyntaxUID)
        association = entity.associate("127.0.0.1", port, ae_title="AUTOSEG")
        assert association.is_established
        assert {association.send_c_store(path).Status for path in paths} == {0}
        association.release()


class Running:
    """`autoseg_serve` as a process of its own."""

    def __init__(self, folder, home, url, peer_port):
        self.folder, self.home, self.url = folder, home, url
        self.port, self.dicom_port = free_ports(2)
        write_json(folder / "listener.json", ListenerSettings(
            ae_title="AUTOSEG", port=self.dicom_port, quiet_seconds=1, rules=(Rule(model=NAME, send_to="SCANNER"),),
            peers=(Peer(ae_title="SCANNER", host="127.0.0.1", port=peer_port),)))
        self.spool = Spool(folder / "spool")
        self.start()
        self.jobs, self.deliveries = JobStore(self.spool.database), DeliveryStore(self.spool.database)

    def start(self):
        with open(self.folder / "log.txt", "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "autoseg.cli.serve", "--home", str(self.home), "--spool", str(self.spool.root),
                 "--port", str(self.port), "--device", "cpu", "--dicomweb", self.url,
                 "--dicom_listener", str(self.folder / "listener.json")], stdout=subprocess.PIPE, stderr=log, text=True)
        assert "models; open" in self.process.stdout.readline(), (self.folder / "log.txt").read_text()

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def ask(self, study):
        """The id of the job of a study that the service fetches."""
        answer = httpx.post(f"http://127.0.0.1:{self.port}/v1/dicomweb/jobs", timeout=60,
                            json={"study": study, "model": NAME, "store": True, "uncertainty": False})
        assert answer.status_code == 202, answer.text
        return answer.json()["id"]

    def states(self):
        return {job_id: self.jobs.get(job_id).state for job_id in self.jobs.ids()}

    def wait(self, condition):
        for _ in range(MOST_SECONDS * 20):
            if condition():
                return
            time.sleep(0.05)
        raise AssertionError((self.states(), (self.folder / "log.txt").read_text()[-4000:]))

    def all_stored(self):
        found = [self.deliveries.get(job_id) for job_id in self.jobs.ids()]
        return len(found) == 2 and all(delivery and delivery.state == "stored" for delivery in found)


def free_ports(number):
    probes = [socket.socket() for _ in range(number)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


@contextmanager
def network(folder, home):
    """A server of DICOMweb, a DICOM node, and the service between them."""
    node = Node()
    with pacs_server() as (archive, url):
        service = Running(folder, home, url, node.port)
        try:
            yield archive, node, service
        finally:
            node.is_free.set()
            if service.process.poll() is None:
                service.kill()
            node.server.shutdown()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    write_model(folder, channels=CHANNELS, spacing_mm=(8.0, 8.0, 8.0))
    return folder


@pytest.fixture(scope="module")
def studies(shared_data, home, tmp_path_factory):
    samples = shared_data / "samples" / "sts_dicom"
    folder = tmp_path_factory.mktemp("studies")
    return {patient: Study(samples, patient, folder, home) for patient in (SENT, FETCHED)}


def instance(content):
    return str(pydicom.dcmread(BytesIO(content), stop_before_pixels=True, force=True).SOPInstanceUID)


MOMENTS = ("never", "received", "running", "done and not stored", "storing", "stored without an answer",
           "sent without an answer")


@pytest.mark.parametrize("moment", MOMENTS)
def test_masks_come_back_once_whenever_the_service_is_killed(studies, home, tmp_path, moment):
    with network(tmp_path, home) as (archive, node, service):
        archive.add(studies[FETCHED].uid, studies[FETCHED].paths)
        faults = {"done and not stored": "500", "storing": "no answer, not stored",
                  "stored without an answer": "no answer, stored"}
        node.refuses = moment == "done and not stored"
        if moment == "sent without an answer":
            node.is_free.clear()
        node.send(service.dicom_port, studies[SENT].paths)
        job_id = service.ask(studies[FETCHED].uid)
        archive.fault = faults.get(moment, "")
        reached = {
            "never": lambda: True, "received": lambda: True, "running": lambda: "running" in service.states().values(),
            "done and not stored": lambda: list(service.states().values()) == ["done", "done"] and all(
                service.deliveries.get(job).attempts for job in service.jobs.ids()),
            "storing": archive.holds.is_set, "stored without an answer": archive.holds.is_set,
            "sent without an answer": node.holds.is_set}
        service.wait(reached[moment])
        if moment != "never":
            service.kill()
            archive.fault, node.refuses = "", False
            node.is_free.set()
            service.start()
        service.wait(service.all_stored)
        time.sleep(5)  # two more rounds of deliveries
        assert set(service.states().values()) == {"done"} and len(service.states()) == 2
        assert len(archive.stored) == 1 and len({instance(content) for content in node.stored}) == 1
        assert len(node.stored) == 1 + (moment == "sent without an answer")
        assert service.deliveries.get(job_id).destination == "dicomweb"
        studies[FETCHED].check(archive.stored[0], tmp_path / "fetched.dcm")
        studies[SENT].check(node.stored[-1], tmp_path / "sent.dcm")
        log = (tmp_path / "log.txt").read_text()
        assert not any(word in log for word in (SENT, FETCHED, studies[SENT].uid, studies[FETCHED].uid))
