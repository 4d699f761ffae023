"""How the files of the page are served, and what is said where the page is not built."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("httpx")

from fastapi import FastAPI
from fastapi.testclient import TestClient

from autoseg.serve.routes.page import PAGES, router
from serve_support import client_to, service_in

ROOT = Path(__file__).parents[2]


def client_of(folder):
    app = FastAPI()
    app.include_router(router(None, folder))
    return TestClient(app)


@pytest.fixture
def built(tmp_path):
    folder = tmp_path / "dist"
    folder.mkdir()
    (folder / "index.html").write_text("<title>autoseg</title>", encoding="utf-8")
    (folder / "main-ABC.js").write_text("export {};", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    return folder


def test_a_page_allows_scripts_of_the_service_only_and_no_frame_around_it(tmp_path):
    policy = client_to(service_in(tmp_path)).get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy and "script-src 'self'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe-inline" not in policy and "http" not in policy and "*" not in policy


def test_a_script_is_kept_for_ever_and_the_page_is_asked_for_each_time(built):
    client = client_of(built)
    script = client.get("/static/main-ABC.js")
    assert "immutable" in script.headers["cache-control"] and "javascript" in script.headers["content-type"]
    page = client.get("/")
    assert page.headers["cache-control"] == "no-cache"
    assert client.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304


@pytest.mark.parametrize("name", ["../secret.txt", "%2e%2e/secret.txt", "..%2fsecret.txt", "/etc/passwd", "nothing.js", "",
                                  "a%00b"])
def test_nothing_outside_the_built_page_is_served(built, name):
    answer = client_of(built).get(f"/static/{name}")
    assert answer.status_code == 404 and "secret" not in answer.text


def test_a_page_that_is_not_built_says_how_it_is_built(tmp_path):
    answer = client_of(tmp_path / "dist").get("/")
    assert answer.status_code == 200 and "npm ci" in answer.text and "autoseg/serve/page" in answer.text
    assert client_of(tmp_path / "dist").get("/static/main.js").status_code == 404


def test_the_page_needs_no_token_and_says_where_corrections_go(tmp_path):
    service = service_in(tmp_path, tokens={"a" * 32: "ann"}, collect="Dataset900_Corrections")
    with client_to(service) as client:
        assert client.get("/").status_code == client.get("/datasets").status_code == 200
        assert client.get("/v1/models").status_code == 401
        listed = client.get("/v1/models", headers={"Authorization": f"Bearer {'a' * 32}"}).json()
        assert listed["collects"] == "Dataset900_Corrections"


def test_the_list_of_packages_names_no_registry():
    lock = (PAGES.parent / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock and '"integrity"' in lock


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("npm") is None, reason="needs npm")
def test_a_wheel_holds_the_page_and_the_licences_of_its_packages(tmp_path):
    names = ("setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "autoseg", "planners")
    for name in names:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / "source" / name, ignore=shutil.ignore_patterns("node_modules", "dist"))
        else:
            (tmp_path / "source").mkdir(exist_ok=True)
            shutil.copy(source, tmp_path / "source" / name)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--quiet", "-w", tmp_path,
                    tmp_path / "source"], check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        inside = {Path(name).name for name in wheel.namelist() if name.startswith("autoseg/serve/page/")}
        text = wheel.read("autoseg/serve/page/dist/LICENSES.txt").decode()
        page = wheel.read("autoseg/serve/page/dist/index.html").decode()
    assert "package.json" not in inside and any(name.startswith("main-") and name.endswith(".js") for name in inside)
    assert "@niivue/niivue 0.69.0 (BSD-2-Clause)" in text and "Redistribution and use in source and binary forms" in text
    assert "static/main-" in page and "{{" not in page
