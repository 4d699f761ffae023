"""Jobs over HTTP: accepted, followed, cancelled, removed; and what is refused."""

import asyncio
import json
import zipfile
from io import BytesIO
from types import SimpleNamespace

import pytest

pytest.importorskip("fastapi")
from fastapi import HTTPException

from autoseg.serve.access import Gates
from autoseg.serve.settings import Limits
from autoseg.serve.uploads import read_form
from autoseg.workspace.jobs.receiving import Receiving
from autoseg.workspace.jobs.store import JobStore
from autoseg.workspace.jobs.types import Problem, Question, SeriesChoice
from serve_support import BRAIN, LIVER, ask, client_to, finish, leftovers, nifti_bytes, service_in

NIFTI = nifti_bytes()


@pytest.fixture
def service(tmp_path):
    return service_in(tmp_path)


@pytest.fixture
def client(service):
    with client_to(service) as client:
        yield client


def problem(response, status):
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    return response.json()["error"]


def zipped(**contents):
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            archive.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def test_the_models_are_listed_with_what_they_take(client):
    listed = client.get("/v1/models").json()["models"]
    assert [model["name"] for model in listed] == ["Dataset001_Liver", "brain"]
    assert [(channel["name"], channel["required"]) for channel in listed[0]["channels"]] == [("CT", True), ("PET", False)]
    assert client.get("/v1/models/brain").json()["title"] == BRAIN.title
    assert problem(client.get("/v1/models/lung"), 404)["found"] == "lung"


def test_health_says_that_the_service_answers(client):
    assert client.get("/health").json()["status"] == "ok"


def test_an_upload_becomes_a_job_whose_files_have_numbers_for_names(client, service):
    response = ask(client, ("a.nii.gz", NIFTI), channels=["CT"], row={"age": 61, "sex": None})
    assert response.status_code == 202
    job = response.json()
    assert job["state"] == "queued" and job["request"]["kind"] == "images"
    assert job["request"]["row"] == {"age": 61.0, "sex": None}
    assert job["request"]["files"] == [
        {"number": 0, "channel": "CT", "shown": "a.nii.gz", "n_bytes": len(NIFTI), "ending": ".nii.gz"}]
    assert (service.spool.job(job["id"]).input / "0.nii.gz").read_bytes() == NIFTI
    assert not leftovers(service)


@pytest.mark.parametrize("name", ["../../../etc/passwd", "..\\..\\boot.ini", "<script>alert(1)</script>.nii.gz", "a\nb\x00c",
                                  "/etc/cron.d/x", ".ssh", "x" * 900])
def test_a_hostile_name_names_nothing_on_the_disk_and_is_shown_without_harm(client, service, name):
    job = ask(client, (name, NIFTI), channels=["CT"]).json()
    shown = job["request"]["files"][0]["shown"]
    assert not set(shown) & set("<>/\\\n\0:") and 0 < len(shown) <= 100
    files = [path.relative_to(service.spool.jobs).as_posix() for path in service.spool.jobs.rglob("*") if path.is_file()]
    assert files == [f"{job['id']}/input/0.nii.gz"]


def test_channels_come_from_the_numbers_in_names_where_nobody_says_them(client):
    files = ask(client, ("x_0001.nii.gz", NIFTI), ("x_0000.nii.gz", NIFTI)).json()["request"]["files"]
    assert [file["channel"] for file in files] == ["PET", "CT"]
    assert problem(ask(client, ("a.nii.gz", NIFTI), ("b.nii.gz", NIFTI)), 422)["where"] == "channels"


def test_a_required_channel_that_is_missing_is_named(client, service):
    told = problem(ask(client, ("p.nii.gz", NIFTI), channels=["PET"]), 422)
    assert "needs the channel CT" in told["what"] and "PET (may be missing)" in told["expected"]
    assert not leftovers(service) and not service.jobs.ids()


@pytest.mark.parametrize(("fields", "where"), [
    ({"channels": ["MR"]}, "channels"), ({"channels": ["CT", "PET"]}, "channels"), ({"channels": "CT"}, "channels"),
    ({"channels": ["CT"], "row": {"weight": 1}}, "row"), ({"channels": ["CT"], "row": {"age": "old"}}, "row, age"),
    ({"channels": ["CT"], "row": {"age": "nan"}}, "row, age"), ({"channels": ["CT"], "row": [1]}, "row"),
    ({"channels": ["CT"], "series": {"CT": "../x"}}, "series, CT"), ({"channels": ["CT"], "modality": "smell"}, "modality"),
    ({"channels": ["CT"], "uncertainty": "perhaps"}, "uncertainty")])
def test_a_wrong_field_is_named(client, service, fields, where):
    assert problem(ask(client, ("a.nii.gz", NIFTI), **fields), 422)["where"] == where
    assert not service.jobs.ids() and not leftovers(service)


def test_what_is_no_image_is_refused_by_its_first_bytes_whatever_its_name(client, service):
    assert problem(ask(client, ("scan.nii.gz", b"<html>"), channels=["CT"]), 415)["where"] == "scan.nii.gz"
    assert problem(ask(client, ("scan.nii.gz", b"\x1f\x8b" + b"0" * 50), channels=["CT"]), 415)["where"] == "scan.nii.gz"
    assert ask(client, ("scan.exe", NIFTI), channels=["CT"]).json()["request"]["files"][0]["ending"] == ".nii.gz"
    assert not leftovers(service)


def test_an_image_whose_voxels_would_be_another_file_of_the_server_is_refused(client, service):
    meta = b"ObjectType = Image\nNDims = 3\nDimSize = 9 1 1\nElementType = MET_UCHAR\nElementDataFile = /etc/passwd\n"
    nrrd = b"NRRD0004\ntype: uchar\ndimension: 3\nsizes: 9 1 1\nencoding: raw\ndata file: /etc/passwd\n\n"
    for content in (meta, nrrd, zipped(a=meta, b=nrrd)):
        problem(ask(client, ("a.mha", content), channels=["CT"]), 415)
    assert not service.jobs.ids() and not leftovers(service)


def test_a_zip_is_unpacked_and_what_is_no_image_in_it_is_left_out(client):
    study = b"\0" * 128 + b"DICM" + b"\0" * 20
    job = ask(client, ("study.zip", zipped(a__1=study, a__2=study, readme=b"text"))).json()
    assert job["request"]["kind"] == "study"
    assert [file["shown"] for file in job["request"]["files"]] == ["1", "2"]
    assert problem(ask(client, ("z.zip", zipped(readme=b"text"))), 415)["where"] == "z.zip"
    assert problem(ask(client, ("z.zip", zipped(a=study, b=NIFTI))), 422)["found"] == ".dcm, .nii.gz"


def test_a_zip_that_unpacks_to_too_much_is_refused_and_leaves_nothing(tmp_path):
    service = service_in(tmp_path, limits=Limits(unpacked_bytes=2**21))
    bomb = zipped(a=b"\0" * 2**22)
    assert len(bomb) < 2**14
    with client_to(service) as client:
        assert "too large" in problem(ask(client, ("z.zip", bomb)), 413)["what"]
    assert not leftovers(service) and not service.jobs.ids()


def test_an_upload_over_the_limit_is_refused_before_it_is_read(tmp_path):
    service = service_in(tmp_path, limits=Limits(upload_bytes=2**20))
    sent = []

    def body():
        for _ in range(1000):
            sent.append(2**16)
            yield b"0" * 2**16

    with client_to(service) as client:
        response = client.post("/v1/jobs", content=body(), headers={
            "content-length": str(10 * 2**30), "content-type": "multipart/form-data; boundary=x"})
        assert problem(response, 413)["expected"] == "at most 2 MiB"
        assert problem(ask(client, ("a.nii.gz", b"0" * 3 * 2**20)), 413)
        assert problem(client.post("/v1/jobs/x/answer", content=b"0" * 2**21), 413)
    assert not leftovers(service)


def test_too_many_files_are_refused(tmp_path):
    service = service_in(tmp_path, limits=Limits(files=3))
    with client_to(service) as client:
        assert "too many files" in problem(ask(client, *[(f"{k}.nii", NIFTI) for k in range(4)]), 413)["what"]
        assert problem(ask(client, ("z.zip", zipped(**{f"n{k}": NIFTI for k in range(4)}))), 413)
    assert not leftovers(service)


_HALF = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nhalf'


@pytest.mark.parametrize("body", [b"", b"--x", b"--x\r\n\r\n\r\n--x--", _HALF,
                                  b"--x\r\nA" + b"a" * 9000 + b": b\r\n\r\n--x--",
                                  b"--x\r\n" + b"A: b\r\n" * 100 + b"\r\n--x--", b"nonsense"])
def test_a_damaged_form_is_refused_and_leaves_nothing(client, service, body):
    problem(client.post("/v1/jobs", content=body, headers={"content-type": "multipart/form-data; boundary=x"}), 422)
    assert not leftovers(service)


def test_a_body_that_is_no_form_is_refused(client):
    assert "multipart/form-data" in problem(client.post("/v1/jobs", json={"model": "x"}), 415)["expected"]


def test_the_queue_has_a_limit_for_each_client_and_for_all(tmp_path):
    service = service_in(tmp_path, limits=Limits(queued_per_client=1, queued=2))
    with client_to(service) as client:
        def as_client(name):
            return ask(client, ("a.nii.gz", NIFTI), model="brain", headers={"X-Client": name})

        assert as_client("a").status_code == 202
        response = as_client("a")
        assert problem(response, 429) and int(response.headers["retry-after"]) > 0
        assert as_client("b").status_code == 202
        assert problem(as_client("c"), 429)["found"] == "0 jobs of yours, 2 of all"


def test_a_job_of_somebody_else_is_not_there(client):
    job_id = ask(client, ("a.nii.gz", NIFTI), model="brain", headers={"X-Client": "a"}).json()["id"]
    for method, path in (("GET", ""), ("GET", "/events"), ("POST", "/cancel"), ("DELETE", ""), ("GET", "/result/nifti"),
                         ("GET", "/images/MR")):
        problem(client.request(method, f"/v1/jobs/{job_id}{path}", headers={"X-Client": "b"}), 404)
    problem(ask(client, model="brain", inputs_of=job_id, headers={"X-Client": "b"}), 404)
    assert client.get("/v1/jobs", headers={"X-Client": "b"}).json() == {"jobs": []}
    assert len(client.get("/v1/jobs", headers={"X-Client": "a"}).json()["jobs"]) == 1


def test_a_job_that_does_not_exist_is_not_there(client):
    for job_id in ("0" * 32, "x", "..%2f..", "%00"):
        problem(client.get(f"/v1/jobs/{job_id}"), 404)


def test_a_cancelled_job_has_no_result_and_cannot_be_cancelled_again(client):
    job_id = ask(client, ("a.nii.gz", NIFTI), model="brain").json()["id"]
    assert client.post(f"/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"
    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "cancelled"
    assert problem(client.get(f"/v1/jobs/{job_id}/result/nifti"), 409)["found"] == "cancelled"
    assert problem(client.post(f"/v1/jobs/{job_id}/cancel"), 409)["found"] == "cancelled"


def test_a_removed_job_leaves_nothing(client, service):
    job_id = ask(client, ("a.nii.gz", NIFTI), model="brain").json()["id"]
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 204
    assert not leftovers(service) and not service.jobs.ids()
    problem(client.delete(f"/v1/jobs/{job_id}"), 404)


def test_the_files_of_a_job_can_be_used_for_another_model(client):
    first = ask(client, ("a.nii.gz", NIFTI), ("b.nii.gz", NIFTI), channels=["CT", "PET"]).json()
    second = client.post("/v1/jobs", files={"model": (None, LIVER.name), "inputs_of": (None, first["id"])}).json()
    assert second["request"]["files"] == first["request"]["files"] and second["id"] != first["id"]
    told = problem(client.post("/v1/jobs", files={"model": (None, "brain"), "inputs_of": (None, first["id"])}), 422)
    assert "MR" in told["what"]


def test_a_result_is_sent_whole_with_a_name_that_the_service_chose(client, service):
    job_id = ask(client, ("a.nii.gz", NIFTI), channels=["CT"]).json()["id"]
    problem(client.get(f"/v1/jobs/{job_id}/result/nifti"), 409)
    finish(service, job_id)
    mask = service.spool.job(job_id).result / "mask.nii.gz"
    mask.parent.mkdir()
    mask.write_bytes(b"mask")
    response = client.get(f"/v1/jobs/{job_id}/result/nifti")
    assert (response.content, response.headers["content-length"]) == (b"mask", "4")
    assert response.headers["content-disposition"] == f'attachment; filename="{job_id}_nifti.nii.gz"'
    assert response.headers["cache-control"] == "no-store"
    for path, status in (("seg", 404), ("passwd", 422), ("nifti?label=liver", 422), ("stl?label=lung", 404),
                         ("stl?label=liver", 404), ("stl?label=../../x", 404)):
        problem(client.get(f"/v1/jobs/{job_id}/result/{path}"), status)
    problem(client.get(f"/v1/jobs/{job_id}/images/..%2fx"), 404)
    expired = JobStore(service.spool.database, now=lambda: 2**40)
    assert expired.expire() == [job_id]
    problem(client.get(f"/v1/jobs/{job_id}/result/nifti"), 410)
    problem(client.get(f"/v1/jobs/{job_id}/images/CT"), 410)


def test_events_end_with_the_job(client, service):
    job_id = ask(client, ("a.nii.gz", NIFTI), model="brain").json()["id"]
    finish(service, job_id)
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line]
    assert [json.loads(line.removeprefix("data: "))["state"] for line in lines] == ["done"]


def test_a_question_is_answered_with_one_of_the_series_that_were_offered(client, service):
    job_id = ask(client, ("a.nii.gz", NIFTI), model="brain").json()["id"]
    problem(client.post(f"/v1/jobs/{job_id}/answer", json={"series": {"MR": "1.2"}}), 409)
    question = Question(text="which?", channels={"MR": (SeriesChoice(uid="1.2"), SeriesChoice(uid="1.3"))})
    service.jobs.claim("worker")
    service.jobs.ask(job_id, question)
    for series in ({}, {"MR": "1.9"}, {"CT": "1.2"}, {"MR": "x"}):
        problem(client.post(f"/v1/jobs/{job_id}/answer", json={"series": series}), 422)
    problem(client.post(f"/v1/jobs/{job_id}/answer", json=[]), 422)
    answered = client.post(f"/v1/jobs/{job_id}/answer", json={"series": {"MR": "1.3"}}).json()
    assert (answered["state"], answered["request"]["series"]) == ("queued", {"MR": "1.3"})


def test_no_folder_of_the_server_is_told(client, service, tmp_path):
    job_id = ask(client, ("a.nii.gz", NIFTI), model="brain").json()["id"]
    inside = service.spool.job(job_id).input / "0.nii.gz"
    service.jobs.claim("worker")
    service.jobs.fail(job_id, Problem(what=f"{inside}: it is cut short", where=str(inside),
                                      found=f"/usr/lib/x.so and {tmp_path}/home/models"))
    told = client.get(f"/v1/jobs/{job_id}").json()["problem"]
    assert "it is cut short" in told["what"]
    assert str(tmp_path) not in json.dumps(told) and "/usr" not in json.dumps(told)


def test_a_fault_of_the_service_is_told_by_a_number_alone(service, caplog, monkeypatch):
    def broken(_):
        raise RuntimeError("/secret/place")

    monkeypatch.setattr(service.jobs, "get", broken)
    with client_to(service) as client:
        told = problem(client.get("/v1/jobs/" + "0" * 32), 500)
    assert "secret" not in json.dumps(told)
    assert told["found"].removeprefix("fault ") in caplog.text


def test_every_route_is_described_with_its_answers(client):
    description = client.get("/openapi.json").json()
    for path, methods in description["paths"].items():
        for method, route in methods.items():
            assert route["summary"] and "401" in route["responses"], f"{method} {path}"
    assert "multipart/form-data" in description["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]


def test_figures_for_prometheus_count_jobs_and_bytes(client):
    ask(client, ("a.nii.gz", NIFTI), model="brain")
    lines = client.get("/metrics").text.splitlines()
    assert 'autoseg_jobs{state="queued"} 1.0' in lines
    received = next(line for line in lines if line.startswith("autoseg_received_bytes_total "))
    assert float(received.split()[1]) > len(NIFTI)


def test_an_upload_that_breaks_off_leaves_nothing(service):
    from autoseg.serve.app import make_app

    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    messages = iter([{"type": "http.request", "body": head + b"0" * 2**21, "more_body": True}, {"type": "http.disconnect"}])
    seen, sent = [], []

    async def receive():
        seen.append(leftovers(service))
        return next(messages)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/v1/jobs", "raw_path": b"/v1/jobs",
             "query_string": b"", "root_path": "", "scheme": "http", "client": ("127.0.0.1", 1), "server": ("localhost", 1),
             "headers": [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=x")]}
    asyncio.run(make_app(service)(scope, receive, send))
    assert len(seen[1]) == 1 and not leftovers(service) and not service.jobs.ids()


def test_an_upload_that_is_too_slow_is_ended(service, tmp_path):
    async def stream():
        for _ in range(3):
            yield b"0"

    request = SimpleNamespace(headers={"content-type": "multipart/form-data; boundary=x"}, stream=stream)

    clock = iter([0.0, 10.0, 31.0, 32.0])
    receiving = Receiving(tmp_path, 100, 1)
    with pytest.raises(HTTPException) as raised:
        asyncio.run(read_form(request, receiving, texts=(), files=("files",), now=lambda: next(clock)))
    assert raised.value.status_code == 408


def test_one_client_uploads_a_few_files_at_a_time_and_another_one_beside_it():
    async def story():
        gates = Gates(of_client=1, of_all=2, patience_seconds=0.01)
        await gates.enter("a")
        with pytest.raises(HTTPException) as raised:
            await gates.enter("a")
        await gates.enter("b")
        with pytest.raises(HTTPException):
            await gates.enter("c")
        await gates.leave("a")
        await gates.enter("a")
        return raised.value

    refusal = asyncio.run(story())
    assert refusal.status_code == 429 and refusal.headers["Retry-After"] == "30"
