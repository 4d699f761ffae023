"""A study of the PACS is chosen on the page, with real clicks, and becomes a job of the real routes."""

import os
import time
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("dicomweb_client")
pytest.importorskip("pydicom")
sync_api = pytest.importorskip("playwright.sync_api")

from autoseg.serve.app import make_app  # noqa: E402
from autoseg.serve.deliveries import DICOMWEB, Deliveries  # noqa: E402
from autoseg.serve.pacs import Pacs  # noqa: E402
from autoseg.serve.routes.page import PAGES  # noqa: E402
from autoseg.workspace.jobs.deliveries import DeliveryStore  # noqa: E402
from dicom_studies import SHAPE, STUDY, truth, write_series  # noqa: E402
from pacs_server import pacs_server  # noqa: E402
from page_service import AXE, check, running  # noqa: E402
from serve_support import BRAIN, RESULT, finish, nifti_bytes, service_in  # noqa: E402
from viewer_page import ARGUMENTS, CHROMIUM  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path(CHROMIUM).is_file(), reason="needs /usr/bin/chromium"),
              pytest.mark.skipif(not (PAGES / "index.html").is_file(), reason="the page is not built")]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def archive(tmp_path):
    with pacs_server() as (archive, url):
        archive.url = url
        archive.add(STUDY, write_series(tmp_path / "a", truth()))
        archive.add("1.2.3", write_series(tmp_path / "b", truth(), patient="P2", study="1.2.3"))
        yield archive


@pytest.fixture
def service(tmp_path, archive):
    service = service_in(tmp_path, models=(BRAIN,), dicomweb=archive.url)
    deliveries = Deliveries(DeliveryStore(service.spool.database), service.jobs, service.spool, time.time)
    pacs = deliveries.destinations[DICOMWEB] = Pacs(archive.url, {})
    service.extras.update(deliveries=deliveries, pacs=pacs)
    return service


@pytest.fixture
def page(browser, service):
    with running(make_app(service)) as address:
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(30_000)
        page.goto(address)
        page.locator(".model").wait_for()
        yield page
        page.close()


def shot(page, name):
    """A picture for people, where a folder is named."""
    if folder := os.environ.get("AUTOSEG_TEST_SHOTS"):
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def open_dialog(page):
    page.get_by_role("button", name="From the PACS").click()
    dialog = page.get_by_role("dialog")
    dialog.wait_for()
    return dialog


def test_a_study_is_found_chosen_and_its_result_stored(page, service, archive):
    dialog = open_dialog(page)
    assert dialog.get_by_role("button", name="Take this study").is_disabled()
    dialog.get_by_label("Patient ID").fill("P2")
    page.keyboard.press("Enter")
    dialog.get_by_role("group", name="1 study").wait_for()
    dialog.get_by_role("radio").focus()
    page.keyboard.press("Space")
    dialog.get_by_label("Store the result in the PACS").check()
    shot(page, "dialog")
    dialog.get_by_role("button", name="Take this study").click()
    page.locator("#panel").get_by_text("P2").wait_for()
    shot(page, "form")
    page.get_by_role("button", name="Segment", exact=True).click()
    page.get_by_role("button", name="Cancel").wait_for()
    [job] = service.jobs.of_client("local")
    assert job.request.kind == "study" and len(job.request.files) == SHAPE[0] and job.request.model == BRAIN.name
    planned = service.extras["deliveries"].of_job(job.id)
    assert (planned.destination, planned.form, planned.state) == ("dicomweb", "seg", "waiting")
    folder = service.spool.job(job.id)
    for path in (folder.images / "0.nii.gz", folder.result / "mask.nii.gz"):
        path.parent.mkdir()
        path.write_bytes(nifti_bytes())
    finish(service, job.id, RESULT.model_copy(update={"images": ("MR",)}))
    page.get_by_text("The result is not stored in the PACS yet.").wait_for()
    shot(page, "result")


def test_without_a_choice_to_store_nothing_is_stored(page, service):
    dialog = open_dialog(page)
    dialog.get_by_role("button", name="Search").click()
    dialog.get_by_role("group", name="2 studies").wait_for()
    shot(page, "studies")
    dialog.get_by_role("radio").first.check()
    dialog.get_by_role("button", name="Take this study").click()
    page.get_by_role("button", name="Segment", exact=True).click()
    page.get_by_role("button", name="Cancel").wait_for()
    [job] = service.jobs.of_client("local")
    assert service.extras["deliveries"].of_job(job.id) is None


def test_what_the_server_does_wrong_is_said_in_the_dialog_which_closes_by_escape(page, archive, service):
    dialog = open_dialog(page)
    archive.fault = "500"
    dialog.get_by_role("button", name="Search").click()
    dialog.get_by_text("status 500").wait_for()
    shot(page, "fault")
    if AXE.is_file():
        check(page, "dialog")
    page.keyboard.press("Escape")
    page.get_by_text("Drop a scan here").wait_for()
    assert dialog.count() == 0 and not service.jobs.ids()


def test_without_a_server_of_dicomweb_the_page_offers_none(browser, tmp_path):
    with running(make_app(service_in(tmp_path))) as address:
        page = browser.new_page()
        page.goto(address)
        page.locator(".model").wait_for()
        assert page.get_by_role("button", name="From the PACS").count() == 0
        page.close()
