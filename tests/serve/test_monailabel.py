"""The calls of MONAI Label, as its clients send and read them."""

import email
import gzip
import json

import numpy as np
import pytest

pytest.importorskip("fastapi")

from autoseg.datasets.integrity import verify
from autoseg.formats import read_label, write_array, write_label
from autoseg.serve.pacs import UnknownStudy
from autoseg.serve.served import ServedLabel
from autoseg.workspace.jobs.sessions import Sessions
from monailabel_support import TINY, quick_service
from serve_support import client_to

MODEL = "Dataset001_Tiny"


@pytest.fixture
def image(tmp_path, geometry, image_DHW):
    write_array(tmp_path / "image.nii.gz", image_DHW[None], geometry)
    return tmp_path / "image.nii.gz"


@pytest.fixture
def label(tmp_path, geometry, label_DHW):
    write_label(tmp_path / "label.nii.gz", label_DHW, geometry)
    return tmp_path / "label.nii.gz"


@pytest.fixture
def service(tmp_path):
    return quick_service(tmp_path, collect="Dataset050_Fixes")


@pytest.fixture
def client(service):
    return client_to(service)


def infer(client, file=None, params=None, **query):
    files = {"params": (None, json.dumps(params or {}))} | ({"file": ("case.nii.gz", file.read_bytes())} if file else {})
    return client.post(f"/infer/{MODEL}", params=query, files=files)


def upload(client, image, name="Liver 7", **params):
    return client.put("/datastore/", params={"image": name}, files={
        "params": (None, json.dumps(params)), "file": ("case.nii.gz", image.read_bytes())})


def save(client, label, image="Liver 7", name="label.nii.gz", **params):
    return client.put("/datastore/label", params={"image": image}, files={
        "params": (None, json.dumps(params)), "label": (name, label if isinstance(label, bytes) else label.read_bytes())})


def parts_of(response):
    """The parts of a multipart answer by name: file name and content."""
    head = f"Content-Type: {response.headers['content-type']}\r\n\r\n".encode()
    return {part.get_param("name", header="content-disposition"): (part.get_filename(), part.get_payload(decode=True))
            for part in email.message_from_bytes(head + response.content).get_payload()}


def left_in(spool):
    return [path for path in spool.rglob("*") if path.is_file() and not path.name.startswith("jobs.sqlite")]


def mask_of(content, tmp_path, ending):
    (tmp_path / f"answer{ending}").write_bytes(content)
    return read_label(tmp_path / f"answer{ending}")


def test_info_lists_models_with_the_values_of_their_labels(client):
    info = client.get("/info/").json()
    assert info["models"][MODEL] == {"type": "segmentation", "labels": {"a": 1, "b": 2}, "dimension": 3,
                                     "description": "Tiny", "config": {"age": ""}}
    assert info["labels"] == ["a", "b"] and "config" not in info and "random" in info["strategies"]
    assert info["datastore"] == {"total": 0, "completed": 0, "label_tags": {}, "label_names": {}}


def test_values_of_regions_bear_the_name_of_the_smallest_region(tmp_path):
    regions = tuple(ServedLabel(name=name, values=values, color="#000000")
                    for name, values in (("whole", (1, 2, 3)), ("core", (2, 3)), ("enhancing", (3,))))
    info = client_to(quick_service(tmp_path, (TINY.model_copy(update={"labels": regions}),))).get("/info/").json()
    assert info["models"][MODEL]["labels"] == {"whole": 1, "core": 2, "enhancing": 3}


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz", ".nii"])
@pytest.mark.parametrize("options", [{}, {"result_compress": False, "result_dtype": "uint8"}])
def test_the_answer_has_parameters_and_the_mask_on_the_grid_of_the_image(client, service, image, image_DHW, geometry,
                                                                         tmp_path, ending, options):
    response = infer(client, image, {"result_extension": ending, "age": "61", "client_id": "x"} | options)
    assert response.status_code == 200 and int(response.headers["content-length"]) == len(response.content)
    parts = parts_of(response)
    facts, (name, content) = json.loads(parts["params"][1]), parts["image"]
    label_DHW, own = mask_of(content, tmp_path, ending)
    np.testing.assert_array_equal(label_DHW, image_DHW > np.median(image_DHW))
    assert name == f"label{ending}" and not own.difference(geometry)
    assert facts["label_names"] == {"a": 1} and facts["model"] == MODEL  # no voxel is b
    assert service.jobs.asked[0].row == {"age": 61.0} and not service.jobs.asked[0].uncertainty


def test_nothing_of_a_request_that_was_answered_stays(client, service, image):
    infer(client, image)
    assert service.jobs.ids() == set() and left_in(service.settings.spool) == []


def test_viewers_that_unpack_nothing_get_plain_voxels(client, image):
    response = infer(client, image, {"result_extension": ".nrrd", "result_compress": False}, output="image")
    assert b"encoding: raw" in response.content[:400] and b"type: unsigned char" in response.content[:400]
    assert response.headers["content-disposition"] == 'attachment; filename="label.nrrd"'


def test_the_answer_may_be_the_parameters_alone(client, image):
    assert infer(client, image, output="json").json()["volumes_ml"] == {"a": 0.5, "b": 0.5}


def test_images_without_dicom_have_no_segmentation_in_dicom(client, image):
    response = infer(client, image, output="dicom_seg")
    assert response.status_code == 422 and "series of DICOM" in response.json()["error"]["what"]


@pytest.mark.parametrize(("params", "query", "status", "says"), [
    ({}, {}, 422, "no image"), ({}, {"session_id": "0" * 32}, 404, "no such session"),
    ({}, {"session_id": "../../etc"}, 404, "no such session"), ({}, {"image": "../../etc/passwd"}, 404, "no such image"),
    ({}, {"image": "1.2.840.113619.2.1"}, 404, "no series of this name"),
    ({"result_extension": "/../x"}, {}, 422, "format of the result")])
def test_a_request_without_an_image_that_is_here_is_refused(client, params, query, status, says):
    response = infer(client, None, params, **query)
    assert response.status_code == status and says in response.json()["error"]["what"]


class OneSeries:
    """A DICOMweb server that has one series; in place of DICOM it sends an image."""

    def __init__(self, content):
        self.content, self.asked = content, []

    def study_of(self, series):
        if series != "1.2.840.1":
            raise UnknownStudy("the server has no such series")
        return "1.2.840"

    def fetch(self, study, receiving, most_bytes, series=""):
        self.asked.append((study, series))
        receiving.begin("image")
        receiving.write(self.content)
        return [receiving.end()]


def test_a_series_is_fetched_from_the_server_that_the_viewer_reads_from(client, service, image, image_DHW, tmp_path):
    service.extras["pacs"] = pacs = OneSeries(image.read_bytes())
    answer = infer(client, None, {"result_extension": ".nrrd", "result_compress": False}, image="1.2.840.1", output="image")
    np.testing.assert_array_equal(mask_of(answer.content, tmp_path, ".nrrd")[0], image_DHW > np.median(image_DHW))
    assert pacs.asked == [("1.2.840", "1.2.840.1")] and left_in(service.settings.spool) == []
    assert infer(client, None, image="1.2.840.2").status_code == 404


def test_a_model_that_is_not_here_and_a_file_that_is_no_image_are_refused(client, image, tmp_path):
    assert client.post("/infer/other", files={"params": (None, "{}")}).status_code == 404
    (tmp_path / "x.nii.gz").write_bytes(b"<script>")
    assert infer(client, tmp_path / "x.nii.gz").status_code == 415
    assert client.post(f"/infer/{MODEL}", files={"params": (None, "[1")}).status_code == 422


def test_a_session_keeps_an_image_for_several_requests_until_it_is_removed(client, service, image, image_DHW, tmp_path):
    made = client.put("/session/", data={"client_id": "x"}, files={"files": ("a.nii.gz", image.read_bytes())}).json()
    session = made["session_id"]
    assert client.get(f"/session/{session}").json()["name"] == session and made["session_info"]["expiry"] == 3600
    for _ in range(2):
        answer = infer(client, session_id=session, image="whatever", output="image")
        np.testing.assert_array_equal(mask_of(answer.content, tmp_path, ".nii.gz")[0], image_DHW > np.median(image_DHW))
    assert client.get(f"/session/{session}", headers={"x-client": "other"}).status_code == 404
    assert client.delete(f"/session/{session}").status_code == 200
    assert client.get(f"/session/{session}").status_code == client.delete(f"/session/{session}").status_code == 404
    assert left_in(service.settings.spool) == []


def test_a_session_whose_time_is_over_is_removed(tmp_path):
    clock = [1000.0]
    sessions = Sessions(tmp_path, now=lambda: clock[0])
    with sessions.receiving() as folder:
        from autoseg.workspace.jobs.receiving import Receiving

        receiving = Receiving(folder, 100, 1)
        receiving.begin("a.nii.gz")
        receiving.write(b"voxels")
        session = sessions.add(folder, [receiving.end()], "anna", 60.0)
    assert sessions.get(session.id, "anna") == session and sessions.get(session.id, "ben") is None
    clock[0] += 61
    assert sessions.of_client("anna") == [] and sessions.get(session.id, "anna") is None
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_viewer_sends_an_image_and_its_label_and_they_are_a_training_case(client, tmp_path, image, label, label_DHW,
                                                                                  service):
    infer(client, image)
    case = upload(client, image).json()["image"]
    assert client.post("/activelearning/random", json={"client_id": "x"}).json()["id"] == case
    saved = save(client, label, label_info=[{"name": "a", "idx": 1}, {"name": "b", "idx": 2}], comment="tip")
    assert saved.json() == {"image": "Liver 7", "label": case, "dataset": "Dataset050_Fixes", "replaced": False}
    assert verify(tmp_path / "home/raw/Dataset050_Fixes").faults == ()
    listed = client.get("/datastore/?output=all").json()["objects"][case]
    assert listed["labels"]["final"]["info"]["who"] == "local" and listed["labels"]["final"]["info"]["comment"] == "tip"
    got = client.get("/datastore/label", params={"label": case, "tag": "final"})
    np.testing.assert_array_equal(mask_of(got.content, tmp_path, ".nii.gz")[0], label_DHW)
    assert f'filename="{case}.nii.gz"' in got.headers["content-disposition"]
    assert client.get("/datastore/").json()["completed"] == 1 and client.post("/activelearning/first", json={}).json() == {}
    assert client.get("/datastore/image", params={"image": "Liver 7"}).status_code == 200
    assert client.head("/datastore/image", params={"image": "nothing"}).status_code == 404
    assert client.get("/datastore/?output=train").json() == [{"image": case, "label": case}]
    assert infer(client, image="Liver 7", output="json").status_code == 200
    assert save(client, label).json()["replaced"] is True


def test_segments_are_known_by_their_names_whatever_values_the_viewer_gave_them(client, tmp_path, image, label, label_DHW):
    upload(client, image)
    swapped = np.where(label_DHW == 1, 2, np.where(label_DHW == 2, 1, 0))
    from autoseg.formats import read_header
    write_label(label, swapped, read_header(label).geometry)
    case = save(client, label, label_info=[{"name": "b", "idx": 1}, {"name": "a", "idx": 2}]).json()["label"]
    got = client.get("/datastore/label", params={"label": case, "tag": "final"})
    np.testing.assert_array_equal(mask_of(got.content, tmp_path, ".nii.gz")[0], label_DHW)
    refused = save(client, label, label_info=[{"name": "b", "idx": 1}, {"name": "tumour", "idx": 2}])
    assert refused.status_code == 422 and "values that have no name" in refused.json()["error"]["what"]


def test_a_label_of_voxels_alone_is_taken(client, tmp_path, image, label_DHW):
    case = upload(client, image).json()["image"]
    assert save(client, label_DHW.astype(np.uint8).tobytes(), name="label.bin").json()["label"] == case
    assert save(client, b"123", name="label.bin").status_code == 422


def test_a_label_of_another_grid_is_refused_with_both_grids(client, tmp_path, image, label):
    upload(client, image)
    from autoseg.grids.geometry import Geometry
    write_label(label, np.ones((2, 2, 2), np.uint8), Geometry((2, 2, 2), (1.0, 1.0, 1.0)))
    error = save(client, label).json()["error"]["what"]
    assert "another grid" in error and "(2, 2, 2)" in error and "(4, 5, 6)" in error and str(tmp_path) not in error


def test_without_a_dataset_for_corrections_nothing_is_kept_and_the_answer_says_so(tmp_path, image, label):
    client = client_to(quick_service(tmp_path))
    for answer in (upload(client, image), save(client, label), client.post("/activelearning/random", json={})):
        assert answer.status_code == 404 and "--collect" in answer.json()["error"]["do"]
    assert client.get("/datastore/").json()["total"] == 0 and infer(client, image).status_code == 200


def test_an_image_for_one_of_several_models_needs_the_name_of_one(tmp_path, image):
    other = TINY.model_copy(update={"name": "other"})
    client = client_to(quick_service(tmp_path, (TINY, other), collect="Fixes"))
    assert upload(client, image).status_code == 409
    assert upload(client, image, model=MODEL).status_code == 200
    infer(client, image)
    assert upload(client, image, name="second").status_code == 200


def test_the_password_is_the_token(tmp_path, image):
    client = client_to(quick_service(tmp_path, tokens={"secret": "anna"}))
    assert client.get("/auth/").json()["enabled"] is True and client.get("/info/").status_code == 401
    assert client.post("/auth/token", data={"username": "anna", "password": "guess"}).status_code == 401
    token = client.post("/auth/token", data={"username": "anna", "password": "secret"}).json()
    headers = {"Authorization": f"{token['token_type']} {token['access_token']}"}
    assert client.get("/auth/token/valid", headers=headers).json()["username"] == "anna"
    assert client.get("/auth/token/valid").status_code == 401
    assert client.get("/info/", headers=headers).status_code == 200
    assert client_to(quick_service(tmp_path / "open")).get("/auth/").json()["enabled"] is False


@pytest.mark.parametrize(("method", "path", "status"), [
    ("GET", "/train/?check_if_running=true", 404), ("POST", "/train/x", 404), ("POST", "/train/", 404),
    ("DELETE", "/train/", 404), ("GET", "/logs/", 404), ("POST", "/batch/infer/x", 404), ("GET", "/model/x", 404),
    ("POST", "/infer/wsi/x", 404), ("GET", "/scoring/", 404), ("PUT", "/activelearning/x", 405)])
def test_what_is_not_done_is_answered_with_a_sentence(client, method, path, status):
    response = client.request(method, path)
    assert response.status_code == status and response.json()["error"]["what"]


def test_a_correction_of_a_job_is_a_training_case_with_its_row(client, service, tmp_path, image, label, label_DHW):
    job = client.post("/v1/jobs", data={"model": MODEL, "row": '{"age": 61}'},
                      files={"files": ("a.nii.gz", image.read_bytes())}).json()["id"]
    kept = client.post(f"/v1/jobs/{job}/correction", params={"comment": "tip"}, content=label.read_bytes())
    assert kept.status_code == 201 and kept.json()["dataset"] == "Dataset050_Fixes" and not kept.json()["replaced"]
    folder = tmp_path / "home/raw/Dataset050_Fixes"
    assert verify(folder).faults == () and f"{kept.json()['case']},61" in (folder / "clinical.csv").read_text()
    again = client.post(f"/v1/jobs/{job}/correction", content=gzip.decompress(label.read_bytes()))
    assert again.json()["case"] == kept.json()["case"] and again.json()["replaced"]
    url = f"/v1/jobs/{job}/correction"
    assert client.post(url, content=b"no image").status_code == 415
    assert client.post(f"/v1/jobs/{'0' * 32}/correction", content=label.read_bytes()).status_code == 404
    assert client.post(url, content=label.read_bytes(), headers={"x-client": "other"}).status_code == 404
    service.jobs.remove(job)
    assert client.post(url, content=label.read_bytes()).status_code == 404
