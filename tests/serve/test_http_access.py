"""Who may ask: tokens, names of the host, other sites, rates."""

import hmac
import itertools

import pytest

pytest.importorskip("fastapi")
from autoseg.serve import access
from autoseg.serve.access import Rates
from autoseg.serve.settings import Limits
from serve_support import ask, client_to, nifti_bytes, service_in

TOKENS = {"a" * 32: "anna", "b" * 32: "bert"}


def bearing(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def guarded(tmp_path):
    with client_to(service_in(tmp_path, tokens=TOKENS, host="0.0.0.0")) as client:
        yield client


@pytest.mark.parametrize("headers", [{}, bearing("c" * 32), bearing("a" * 31), bearing(""), {"Authorization": "a" * 32},
                                     {"Authorization": f"Basic {'a' * 32}"}, bearing("é" * 32)])
def test_a_missing_or_wrong_token_is_401(guarded, headers):
    for path in ("/v1/models", "/v1/jobs", "/metrics", "/nowhere"):
        response = guarded.get(path, headers={name: value.encode() for name, value in headers.items()})
        assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
        assert "token" in response.json()["error"]["what"]


def test_all_tokens_are_compared_in_constant_time(guarded, monkeypatch):
    compared = []
    monkeypatch.setattr(access.hmac, "compare_digest", lambda *pair: compared.append(pair) or hmac.digest is None)
    assert guarded.get("/v1/models", headers=bearing("a" * 32)).status_code == 401
    assert len(compared) == len(TOKENS)
    assert all(len(known) == len(offered) == 32 for known, offered in compared)


def test_a_known_token_lets_in_and_its_owner_sees_own_jobs_alone(guarded):
    mine = ask(guarded, ("a.nii", nifti_bytes()), model="brain", headers=bearing("a" * 32)).json()
    assert mine["request"]["client"] == "anna"
    assert guarded.get(f"/v1/jobs/{mine['id']}", headers=bearing("a" * 32)).status_code == 200
    assert guarded.get(f"/v1/jobs/{mine['id']}", headers=bearing("b" * 32)).status_code == 404


def test_health_needs_no_token_and_says_no_job(guarded):
    assert set(guarded.get("/health").json()) == {"status", "version", "workers"}


def test_a_service_without_tokens_answers_under_the_name_of_this_machine_alone(tmp_path):
    with client_to(service_in(tmp_path)) as client:
        for host in ("localhost", "localhost:8000", "127.0.0.1:9", "[::1]:8000"):
            assert client.get("/health", headers={"Host": host}).status_code == 200
        for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "a@localhost", "", "[::1"):
            response = client.get("/health", headers={"Host": host})
            assert response.status_code == 403 and "localhost" in response.json()["error"]["what"]


def test_another_site_cannot_change_anything(tmp_path):
    service = service_in(tmp_path)
    with client_to(service) as client:
        for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
                        {"Origin": "http://localhost:9999"}):
            assert ask(client, ("a.nii", nifti_bytes()), model="brain", headers=headers).status_code == 403
        assert not service.jobs.ids()
        own = {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"}
        assert ask(client, ("a.nii", nifti_bytes()), model="brain", headers=own).status_code == 202
        assert "access-control-allow-origin" not in client.get("/v1/models", headers={"Origin": "http://evil.example"}).headers


def test_every_answer_has_the_headers_that_keep_a_browser_careful(tmp_path):
    with client_to(service_in(tmp_path)) as client:
        for response in (client.get("/v1/models"), client.get("/nowhere"), client.get("/health", headers={"Host": "x"})):
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["referrer-policy"] == "no-referrer"
            assert "default-src 'none'" in response.headers["content-security-policy"]


def test_a_client_that_asks_too_often_is_told_when_to_come_again(tmp_path):
    with client_to(service_in(tmp_path, limits=Limits(requests_per_minute=3))) as client:
        statuses = [client.get("/v1/models").status_code for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        assert 0 < int(client.get("/v1/models").headers["retry-after"]) <= 60


def test_guesses_of_a_token_count_against_the_address_and_not_against_its_owner(tmp_path):
    with client_to(service_in(tmp_path, tokens=TOKENS, limits=Limits(requests_per_minute=3))) as client:
        assert [client.get("/v1/models", headers=bearing("x")).status_code for _ in range(4)] == [401, 401, 401, 429]
        assert client.get("/v1/models", headers=bearing("a" * 32)).status_code == 200


def test_a_rate_fills_again_with_time():
    times = iter([0.0, 0.0, 0.0, 1.0])
    rates = Rates(60, lambda: next(times))
    assert rates.wait("a") == 0
    clock = itertools.count(0, 30)
    rates = Rates(2, lambda: float(next(clock)) / 1000)
    assert [rates.wait("a") > 0 for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("name", ["a b", "x" * 65, "ä", "a/b"])
def test_a_client_name_is_plain(tmp_path, name):
    with client_to(service_in(tmp_path)) as client:
        assert client.get("/v1/models", headers={"X-Client": name.encode()}).status_code == 422
