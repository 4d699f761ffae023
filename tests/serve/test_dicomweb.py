"""DICOMweb: a study of a server becomes a job, and its result is stored there, once."""

import logging

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("dicomweb_client")
pytest.importorskip("pydicom")
from autoseg.base.errors import UserError
from autoseg.formats.dicom.find import find_stacks
from autoseg.formats.segments import read_segments
from autoseg.serve.deliveries import DICOMWEB, Deliveries
from autoseg.serve.pacs import AUTH, AUTH_FILE, Pacs, PacsError, UnknownStudy
from autoseg.serve.settings import Limits
from autoseg.workspace.jobs.deliveries import DeliveryStore
from dicom_masks import write_result
from dicom_studies import SHAPE, STUDY, truth, write_series
from pacs_server import pacs_server
from serve_support import RESULT, client_to, leftovers, service_in


@pytest.fixture
def archive():
    with pacs_server() as (archive, url):
        archive.url = url
        yield archive


class Clock:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


def connected(service, url, environment=(), now=None):
    """The service with the parts that `dicom_network` gives it, but without threads."""
    clock = now or Clock()
    deliveries = Deliveries(DeliveryStore(service.spool.database, clock), service.jobs, service.spool, clock)
    pacs = deliveries.destinations[DICOMWEB] = Pacs(url, dict(environment))
    service.extras.update(deliveries=deliveries, pacs=pacs)
    return deliveries


@pytest.fixture
def service(tmp_path, archive):
    service = service_in(tmp_path)
    connected(service, archive.url)
    return service


@pytest.fixture
def client(service):
    with client_to(service) as client:
        yield client


def asked(client, study=STUDY, **fields):
    return client.post("/v1/dicomweb/jobs", json={"study": study, "model": "Dataset001_Liver", **fields})


def problem(response, status):
    assert response.status_code == status, response.text
    return response.json()["error"]


def done_job(client, service, archive, tmp_path, **fields):
    """The id of a fetched job that a worker has done, and the mask that it found."""
    paths = write_series(tmp_path / "series", truth())
    archive.add(STUDY, paths)
    response = asked(client, store=True, **fields)
    assert response.status_code == 202, response.text
    job_id = response.json()["id"]
    mask = np.zeros(SHAPE, bool)
    mask[1:4, 2:6, 3:7] = True
    folder = service.spool.job(job_id).result
    folder.mkdir(parents=True)
    stack = find_stacks(sorted(service.spool.job(job_id).input.iterdir()))[0]
    write_result(folder / "seg.dcm", stack, {"liver": mask})
    assert service.jobs.claim("worker").id == job_id
    service.jobs.finish(job_id, RESULT)
    return job_id, stack, mask


def test_studies_are_listed_by_patient(client, archive, tmp_path):
    archive.add(STUDY, write_series(tmp_path / "a", truth()))
    archive.add("1.2.3", write_series(tmp_path / "b", truth(), patient="P2", study="1.2.3"))
    listed = client.get("/v1/dicomweb/studies", params={"PatientID": "P2"}).json()["studies"]
    assert [(entry["study"], entry["patient_id"], entry["n_instances"]) for entry in listed] == [("1.2.3", "P2", SHAPE[0])]
    assert len(client.get("/v1/dicomweb/studies").json()["studies"]) == 2


def test_a_study_becomes_a_job_with_the_bytes_that_the_server_has(client, service, archive, tmp_path):
    archive.add(STUDY, write_series(tmp_path / "series", truth()))
    response = asked(client, row={"age": 61})
    assert response.status_code == 202, response.text
    job = service.jobs.get(response.json()["id"])
    assert job.request.kind == "study" and len(job.request.files) == SHAPE[0] and job.request.row == {"age": 61.0}
    files = sorted(service.spool.job(job.id).input.iterdir())
    assert sorted(file.read_bytes() for file in files) == sorted(archive.studies[STUDY])
    problem(client.get(f"/v1/jobs/{job.id}/delivery"), 404)


def test_the_mask_is_stored_and_can_be_read_back(client, service, archive, tmp_path):
    job_id, stack, mask = done_job(client, service, archive, tmp_path)
    assert client.get(f"/v1/jobs/{job_id}/delivery").json()["state"] == "waiting"
    service.extras["deliveries"].deliver_due()
    assert client.get(f"/v1/jobs/{job_id}/delivery").json()["state"] == "stored"
    (tmp_path / "back.dcm").write_bytes(archive.stored[0])
    np.testing.assert_array_equal(read_segments(tmp_path / "back.dcm", stack)["liver"], mask)
    service.extras["deliveries"].deliver_due()
    assert len(archive.stored) == 1


def test_a_service_that_was_killed_before_storing_stores_once_afterwards(client, service, archive, tmp_path):
    job_id, _, _ = done_job(client, service, archive, tmp_path)
    after = connected(service, archive.url)
    after.deliver_due()
    after.deliver_due()
    assert len(archive.stored) == 1 and after.of_job(job_id).state == "stored"


def test_an_instance_whose_answer_was_lost_is_not_stored_again(client, service, archive, tmp_path):
    job_id, _, _ = done_job(client, service, archive, tmp_path)
    clock = Clock()
    deliveries = connected(service, archive.url, now=clock)
    archive.fault = "lost answer"
    deliveries.deliver_due()
    assert deliveries.of_job(job_id).state == "waiting" and len(archive.stored) == 1
    clock.seconds += 60
    deliveries.deliver_due()
    assert deliveries.of_job(job_id).state == "stored" and len(archive.stored) == 1


def test_pauses_between_attempts_double_and_the_reason_is_shown(client, service, archive, tmp_path):
    job_id, _, _ = done_job(client, service, archive, tmp_path)
    clock = Clock()
    deliveries = connected(service, archive.url, now=clock)
    archive.fault = "500"
    pauses = []
    for _ in range(3):
        deliveries.deliver_due()
        pauses.append(deliveries.of_job(job_id).next_attempt - clock.seconds)
        clock.seconds += pauses[-1]
    assert pauses == [10, 20, 40] and "status 500" in deliveries.of_job(job_id).problem


def test_a_job_that_failed_leaves_nothing_to_store(client, service, archive, tmp_path):
    archive.add(STUDY, write_series(tmp_path / "series", truth()))
    job_id = asked(client, store=True).json()["id"]
    service.jobs.cancel(job_id)
    service.extras["deliveries"].deliver_due()
    assert "cancelled" in client.get(f"/v1/jobs/{job_id}/delivery").json()["problem"]


def test_a_study_of_two_patients_is_refused_and_nothing_is_left(client, service, archive, tmp_path):
    archive.add(STUDY, write_series(tmp_path / "a", truth()))
    archive.add(STUDY, write_series(tmp_path / "b", truth(), patient="P2", series=2))
    assert "several patients" in problem(asked(client), 422)["what"]
    assert not leftovers(service) and not service.jobs.ids()


@pytest.mark.parametrize("study", ["1.2/../3", "1.2/series", "", "1..2", "1." * 40 + "1", "1.2?x=y", "1.2%2F3"])
def test_what_is_no_uid_never_enters_an_address(client, archive, study):
    problem(asked(client, study=study), 422)
    assert archive.headers == []


@pytest.mark.parametrize(("fault", "words"), [("500", "status 500"), ("html", "multipart/related"), ("cut", "cut short"),
                                              ("redirect", "leads elsewhere")])
def test_a_server_at_fault_is_named_and_leaves_nothing(client, service, archive, tmp_path, fault, words):
    archive.add(STUDY, write_series(tmp_path / "series", truth()))
    archive.fault = fault
    assert words in problem(asked(client), 502)["what"]
    assert not leftovers(service)


def test_a_study_that_the_server_lacks_is_not_there(client):
    problem(asked(client, study="1.2.3.4"), 404)


def test_an_endless_answer_ends_at_the_limit(tmp_path, archive):
    service = service_in(tmp_path, limits=Limits(upload_bytes=2**20))
    connected(service, archive.url)
    archive.fault = "endless"
    with client_to(service) as client:
        assert "too large" in problem(asked(client), 413)["what"]
        problem(client.get("/v1/dicomweb/studies"), 502)
    assert not leftovers(service)


def test_more_instances_than_allowed_are_refused(tmp_path, archive):
    archive.add(STUDY, write_series(tmp_path / "series", truth()))
    service = service_in(tmp_path, limits=Limits(files=3))
    connected(service, archive.url)
    with client_to(service) as client:
        assert "too many files" in problem(asked(client), 413)["what"]
    assert not leftovers(service)


def test_without_a_server_the_routes_say_so(tmp_path):
    with client_to(service_in(tmp_path)) as client:
        assert "--dicomweb" in problem(asked(client), 404)["do"]


@pytest.mark.parametrize("url", ["", "http://localhost:1/dicom-web"])
def test_the_list_of_models_says_whether_there_is_a_server(tmp_path, url):
    with client_to(service_in(tmp_path, dicomweb=url)) as client:
        assert client.get("/v1/models").json()["pacs"] is (url != "")


def test_the_authorisation_comes_from_the_environment_or_a_file(archive, tmp_path):
    Pacs(archive.url, {AUTH: "bearer abc"}).studies({})
    (tmp_path / "auth").write_text("basic me:secret\n")
    Pacs(archive.url, {AUTH_FILE: str(tmp_path / "auth")}).studies({})
    assert [headers["Authorization"] for headers in archive.headers] == ["Bearer abc", "Basic bWU6c2VjcmV0"]
    with pytest.raises(UserError, match="bearer TOKEN") as refused:
        Pacs(archive.url, {AUTH: "s3cret"})
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("url", ["ftp://a/b", "file:///etc/passwd", "http://me:secret@a/b", "http://", "http://a/?b=c",
                                 "http://a:x"])
def test_an_address_that_is_none_is_refused(url):
    with pytest.raises(UserError, match="not valid"):
        Pacs(url, {})


def test_no_log_names_a_patient_or_a_study(archive, tmp_path, caplog):
    archive.add(STUDY, write_series(tmp_path / "series", truth(), patient="SECRET1"))
    caplog.set_level(logging.DEBUG)
    pacs = Pacs(archive.url, {})
    pacs.studies({"PatientID": "SECRET1"})
    archive.fault = "500"
    with pytest.raises(PacsError) as refused:
        pacs.studies({"PatientID": "SECRET1"})
    assert "SECRET1" not in caplog.text + str(refused.value) and STUDY not in caplog.text


@pytest.mark.parametrize(("known", "asked_for", "found"), [
    ({"1.2.3.1": "1.2.3", "1.2.4.1": "1.2.4"}, "1.2.3.1", "1.2.3"), ({"1.2.3.1": "1.2.3"}, "1.2.3.2", None),
    ({"1.2.3.1": "../x"}, "1.2.3.1", None)])
def test_the_study_of_a_series_is_that_which_the_server_says(archive, known, asked_for, found):
    archive.series = known
    if found is None:
        with pytest.raises(UnknownStudy):
            Pacs(archive.url, {}).study_of(asked_for)
    else:
        assert Pacs(archive.url, {}).study_of(asked_for) == found
