"""The page of datasets and trainings in a browser, with real clicks. The trainings are pretended, all else is real."""

import math
import os
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
sync_api = pytest.importorskip("playwright.sync_api")

from autoseg.serve.app import make_app  # noqa: E402
from autoseg.serve.routes.page import PAGES  # noqa: E402
from autoseg.serve.training.launch import Launcher  # noqa: E402
from autoseg.workspace.files import write_records, write_text  # noqa: E402
from page_service import running  # noqa: E402
from pretended_training import pretend, until  # noqa: E402
from report_workspace import DATASET, folder, write_workspace  # noqa: E402
from serve_support import service_in  # noqa: E402

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync"]
AXE = PAGES.parent / "node_modules" / "axe-core" / "axe.min.js"
SHOTS = os.environ.get("AUTOSEG_PAGE_SHOTS")  # a folder for pictures that people look at
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 390, "height": 844}

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM.is_file(), reason="needs /usr/bin/chromium"),
              pytest.mark.skipif(not (PAGES / "datasets.html").is_file(), reason="the page is not built")]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


def epochs(n):
    """A training that learns, until two thirds of its iterations."""
    return [{"epoch": e, "iteration": 250 * e, "iterations": 375 * n,
             "train_loss": 0.9 * math.exp(-e / 20) + 0.02 * math.sin(e), "learning_rate": 0.01 * (1 - e / (1.5 * n)) ** 0.9,
             "validation_dice": 0.9 - 0.8 * math.exp(-e / 15),
             "seconds": 30.0 * e, "seconds_left": 15.0 * n} for e in range(1, n + 1)]


@pytest.fixture
def service(tmp_path):
    workspace = write_workspace(tmp_path / "home")
    write_records(folder(workspace, 2).metrics, epochs(90))
    write_text(workspace.report(DATASET), "<!doctype html><title>r</title><style>h1 {color: #123456}</style><h1>The report"
               "</h1><script>parent.document.title = 'taken'</script>")
    service = service_in(tmp_path, training=True)
    processes = []

    def start(command, log):
        processes.append(pretend(log.parent, log, writes=False))
        return processes[-1]

    service.extras["launcher"] = Launcher(workspace, ("cpu",), start)
    yield service
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def page(browser, service):
    """The page as it opens. Whatever its console says is a fault."""
    page, said = browser.new_page(viewport=DESKTOP), []
    page.set_default_timeout(30_000)
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    with running(make_app(service)) as address:
        page.goto(f"{address}/datasets")
        page.said = said
        yield page
        page.close()


def shot(page, name):
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"), full_page=True)


def check(page):
    """axe-core's rules of WCAG 2 A and AA, and no scrolling to the side."""
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.evaluate(f"() => {{ {AXE.read_text(encoding='utf-8')} }}")
    found = page.evaluate("() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'], iframes: false})")
    assert [f"{rule['id']}: {node['html'][:120]}: {node['failureSummary'][:200]}"
            for rule in found["violations"] for node in rule["nodes"]] == []


def test_a_fold_is_followed_started_and_stopped(page, service):
    page.get_by_role("button", name="3d_fullres, fold 2: stopped, 66 %").click()
    page.get_by_role("heading", name="3d_fullres, fold 2").wait_for()
    page.get_by_role("button", name="Go on", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Go on").click()
    page.get_by_text("running", exact=False).first.wait_for()
    page.get_by_role("button", name="Finish now").wait_for()
    page.get_by_text("Time left").wait_for()
    chart = page.get_by_role("img", name="Curves of 90 epochs up to iteration 22,500")
    chart.focus()
    page.keyboard.press("Home")
    page.get_by_text("Iteration 250: loss").wait_for()
    page.get_by_text("Log, last 100 lines").click()
    page.get_by_text("training", exact=True).wait_for()
    shot(page, "training_desktop_light")
    page.get_by_role("button", name="Stop", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Stop").click()
    page.get_by_role("button", name="Go on", exact=True).wait_for()
    until(lambda: service.extras["launcher"].running() == [])
    assert page.said == []


def test_the_report_is_shown_in_a_frame_that_runs_nothing(page):
    page.get_by_role("button", name="Show", exact=True).click()
    frame = page.frame_locator("iframe")
    frame.get_by_role("heading", name="The report").wait_for()
    assert frame.get_by_role("heading").evaluate("node => getComputedStyle(node).color") == "rgb(18, 52, 86)"
    assert page.title() != "taken"
    shot(page, "training_report")
    # The browser tells that it has kept the script of this report from running.
    assert all("script" in text.lower() for text in page.said)


def test_the_keyboard_alone_opens_a_fold_on_a_phone_in_the_dark(browser, page):
    page.set_viewport_size(PHONE)
    page.get_by_label("Colours").select_option("dark")
    fold = page.get_by_role("button", name="3d_fullres, fold 2: stopped")
    fold.focus()
    page.keyboard.press("Enter")
    page.get_by_role("img", name="Curves of 90 epochs").wait_for()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')").startswith("3d_fullres, fold 2")
    page.get_by_text("As a table").click()
    page.get_by_role("rowheader", name="22,500").wait_for()
    page.get_by_text("Voxel spacing").wait_for()
    shot(page, "training_phone_dark")
    check(page)
    page.get_by_label("Colours").select_option("light")
    check(page)
    assert page.said == []
