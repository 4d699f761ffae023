"""The DICOM listener: studies come by C-STORE, each becomes a job, and its result goes to a peer by C-STORE."""

import json
import threading
import time

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("pynetdicom")
pytest.importorskip("pydicom")
import pynetdicom

from autoseg.base.errors import UserError
from autoseg.formats.dicom.find import find_stacks
from autoseg.formats.segments import read_segments
from autoseg.serve.deliveries import Deliveries
from autoseg.serve.dicom_listener import Listener, PeerNode
from autoseg.serve.listener_settings import ListenerSettings, Peer, Rule, read_listener
from autoseg.serve.settings import Limits
from autoseg.workspace.jobs.deliveries import DeliveryStore
from autoseg.workspace.jobs.incoming import Incoming
from dicom_masks import write_result
from dicom_studies import CLASSES, PLAIN, SHAPE, truth, write_series
from serve_support import RESULT, leftovers, service_in

MODEL = "Dataset001_Liver"


class Node:
    """A running listener of a service, without its threads."""

    def __init__(self, tmp_path, peer_port=104, **limits):
        self.service = service_in(tmp_path, limits=Limits(**limits))
        self.settings = ListenerSettings(
            ae_title="AUTOSEG", port=0, quiet_seconds=0, peers=(Peer(ae_title="SCANNER", host="127.0.0.1", port=peer_port),),
            rules=(Rule(model=MODEL, calling="SCANNER", description="liver", send_to="SCANNER"),))
        self.folder = tmp_path / "spool" / "incoming"
        self.open()

    def open(self):
        """Start, also again as after a restart."""
        store = DeliveryStore(self.service.spool.database)
        self.deliveries = Deliveries(store, self.service.jobs, self.service.spool, time.time)
        self.deliveries.destinations["SCANNER"] = PeerNode("AUTOSEG", self.settings.peers[0])
        self.listener = Listener(self.settings, self.service, self.deliveries, Incoming(self.folder))
        self.listener.start()

    def jobs(self):
        self.listener.make_due()
        return self.service.jobs.of_client("dicom-SCANNER")

    def wait_until_empty(self):
        """Until the listener has seen that a connection is gone."""
        for _ in range(200):
            if not self.listener._arriving and not leftovers(self.service):
                return
            time.sleep(0.02)
        raise AssertionError(leftovers(self.service))


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path)
    yield node
    node.listener.stop()


def connection(node, title="SCANNER", called="AUTOSEG"):
    entity = pynetdicom.AE(ae_title=title)
    entity.add_requested_context(CLASSES["CT"], PLAIN)
    entity.add_requested_context("1.2.840.10008.1.1")
    return entity.associate("127.0.0.1", node.listener.port, ae_title=called)


def send(node, paths):
    """The states that the listener answers with."""
    association = connection(node)
    assert association.is_established
    states = [association.send_c_store(path).get("Status") for path in paths]
    association.release()
    return states


def series(folder, **changes):
    return write_series(folder, truth(), **{"StudyDescription": "CT Liver", **changes})


def test_the_listener_answers_an_echo(node):
    association = connection(node)
    assert association.send_c_echo().Status == 0
    association.release()


@pytest.mark.parametrize(("title", "called"), [("STRANGER", "AUTOSEG"), ("SCANNER", "OTHER")])
def test_an_unknown_title_is_refused(node, title, called):
    assert connection(node, title, called).is_rejected


def test_a_known_title_from_another_address_stores_nothing(tmp_path, node):
    node.listener._addresses = {"SCANNER": ("192.0.2.1",)}
    assert send(node, series(tmp_path / "a")[:1]) == [0x0124]
    assert node.jobs() == []


def test_series_of_two_associations_are_one_job(tmp_path, node):
    paths = series(tmp_path / "a") + series(tmp_path / "b", series=2)
    assert send(node, paths[:SHAPE[0]]) == [0] * SHAPE[0]
    assert send(node, paths[SHAPE[0]:]) == [0] * SHAPE[0]
    [job] = node.jobs()
    assert job.request.model == MODEL and job.request.kind == "study" and len(job.request.files) == 2 * SHAPE[0]
    stacks = find_stacks(sorted(node.service.spool.job(job.id).input.iterdir()))
    np.testing.assert_array_equal(stacks[0].read()[0][0], truth())
    assert not list(node.folder.iterdir()) and len(node.jobs()) == 1


def test_what_comes_while_a_job_is_made_of_its_study_is_not_lost(tmp_path, node, monkeypatch):
    first, rest = series(tmp_path / "a"), series(tmp_path / "b", series=2)
    send(node, first)
    accept, sender = node.deliveries.accept, threading.Thread(target=send, args=(node, rest))

    def accept_while_more_comes(*arguments):
        sender.start()
        sender.join(1)  # as long as it needs, if nothing holds it up
        return accept(*arguments)

    monkeypatch.setattr(node.deliveries, "accept", accept_while_more_comes)
    node.listener.make_due()
    monkeypatch.undo()
    sender.join()
    assert sorted(len(job.request.files) for job in node.jobs()) == [len(first), len(rest)]


def test_two_patients_in_one_association_are_two_jobs(tmp_path, node):
    send(node, series(tmp_path / "a") + series(tmp_path / "b", series=2, patient="P2"))
    assert [len(job.request.files) for job in node.jobs()] == [SHAPE[0], SHAPE[0]]


def test_a_study_that_fits_no_rule_is_refused(tmp_path, node):
    assert send(node, series(tmp_path / "a", StudyDescription="Knee")[:1]) == [0xC000]
    assert node.jobs() == []


def test_an_instance_whose_study_is_no_uid_is_refused(tmp_path, node):
    import pydicom

    [path] = series(tmp_path / "a")[:1]
    file = pydicom.dcmread(path)
    file["StudyInstanceUID"]._value = "../../etc"
    file.save_as(path)
    assert send(node, [path]) == [0xC000]
    node.wait_until_empty()


def test_an_association_that_breaks_off_leaves_nothing(tmp_path, node):
    association = connection(node)
    assert association.send_c_store(series(tmp_path / "a")[0]).Status == 0
    association.abort()
    node.wait_until_empty()
    assert node.jobs() == [] and not list(node.folder.iterdir())


def test_more_than_the_limits_is_refused(tmp_path):
    node = Node(tmp_path, files=2)
    assert send(node, series(tmp_path / "a")[:3]) == [0, 0, 0xA700]
    node.listener.stop()


def test_what_arrived_before_a_restart_becomes_a_job_once(tmp_path, node):
    send(node, series(tmp_path / "a"))
    node.listener.stop()
    kept = [(path, path.read_bytes()) for folder in node.folder.iterdir() for path in folder.iterdir()]
    node.open()
    [job] = node.jobs()
    node.listener.stop()
    for path, content in kept:  # as if it had died before the folder was removed
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    node.open()
    assert [other.id for other in node.jobs()] == [job.id] and not list(node.folder.iterdir())


def test_the_mask_comes_back_to_the_peer(tmp_path):
    received = []
    entity = pynetdicom.AE(ae_title="SCANNER")
    entity.add_supported_context("1.2.840.10008.5.1.4.1.1.66.4")
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[
        (pynetdicom.evt.EVT_C_STORE, lambda event: received.append(event.encoded_dataset()) or 0)])
    node = Node(tmp_path, peer_port=server.socket.getsockname()[1])
    try:
        send(node, series(tmp_path / "a"))
        [job] = node.jobs()
        mask = np.zeros(SHAPE, bool)
        mask[2:4, 3:5, 1:6] = True
        folder = node.service.spool.job(job.id)
        folder.result.mkdir()
        stack = find_stacks(sorted(folder.input.iterdir()))[0]
        write_result(folder.result / "seg.dcm", stack, {"liver": mask})
        node.service.jobs.claim("worker")
        node.service.jobs.finish(job.id, RESULT)
        node.deliveries.deliver_due()
        node.deliveries.deliver_due()
    finally:
        node.listener.stop()
        server.shutdown()
    assert len(received) == 1 and node.deliveries.of_job(job.id).state == "stored"
    (tmp_path / "back.dcm").write_bytes(received[0])
    np.testing.assert_array_equal(read_segments(tmp_path / "back.dcm", stack)["liver"], mask)


def test_a_peer_that_is_away_is_tried_again(tmp_path, node):
    send(node, series(tmp_path / "a"))
    [job] = node.jobs()
    folder = node.service.spool.job(job.id)
    folder.result.mkdir()
    write_result(folder.result / "seg.dcm", find_stacks(sorted(folder.input.iterdir()))[0], {"liver": truth() > 0})
    node.service.jobs.claim("worker")
    node.service.jobs.finish(job.id, RESULT)
    node.deliveries.deliver_due()
    planned = node.deliveries.of_job(job.id)
    assert planned.state == "waiting" and planned.attempts == 1 and "SCANNER" in planned.problem


@pytest.mark.parametrize(("change", "words"), [
    ({"rules": [{"model": MODEL, "send_to": "NOBODY"}]}, "no peer"), ({"ae_title": "A" * 17}, "AE title"),
    ({"rules": [{"model": MODEL, "calling": "NOBODY"}]}, "no peer"), ({"prot": 1}, "prot")])
def test_a_wrong_file_says_what_is_wrong(tmp_path, change, words):
    whole = {"ae_title": "AUTOSEG", "peers": [{"ae_title": "SCANNER", "host": "127.0.0.1"}], "rules": [{"model": MODEL}]}
    (tmp_path / "listener.json").write_text(json.dumps({**whole, **change}))
    with pytest.raises(UserError, match=words):
        read_listener(tmp_path / "listener.json")


def test_a_rule_with_an_unknown_model_is_refused_at_the_start(tmp_path, node):
    settings = node.settings.model_copy(update={"rules": (Rule(model="lung"),)})
    with pytest.raises(UserError, match="not served"):
        Listener(settings, node.service, node.deliveries, Incoming(node.folder))
