"""The page in a browser, with real clicks. A service of the tests stands in for the workers."""

import base64
import gzip
import json
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("multipart")
sync_api = pytest.importorskip("playwright.sync_api")

from autoseg.serve.routes.page import PAGES  # noqa: E402
from page_service import AXE, FAILED, MODELS, QUESTION, RUNNING, Fake, app_of, check, image, running, write_image  # noqa: E402

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
             "--enable-unsafe-swiftshader"]
DESKTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}

pytestmark = [pytest.mark.skipif(not CHROMIUM.is_file(), reason="needs /usr/bin/chromium"),
              pytest.mark.skipif(not (PAGES / "index.html").is_file(), reason="the page is not built")]


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def fake():
    return Fake()


@pytest.fixture
def address(fake):
    with running(app_of(fake)) as address:
        yield address


@pytest.fixture
def page(browser, address):
    """The page before anything was chosen. Whatever its console says is a fault."""
    page, said = browser.new_page(viewport=DESKTOP), []
    page.set_default_timeout(30_000)
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    page.locator(".model").wait_for()
    page.said = said
    yield page
    page.close()


@pytest.fixture
def scan(tmp_path):
    return write_image(tmp_path, "scan.nii.gz")


def choose(page, *paths):
    page.locator("input[type=file]:not([webkitdirectory])").first.set_input_files([str(path) for path in paths])


def segment(page):
    page.get_by_role("button", name="Segment", exact=True).click()


def faults(page):
    """What the console said, but for the answers that the browser itself reports and for the driver of the graphics card."""
    return [text for text in page.said if "GL Driver Message" not in text and "GPU stall" not in text
            and "Failed to load resource" not in text]


def drop(page, files: dict[str, bytes]):
    """Drops files on the stage, as a desktop does."""
    packed = {name: base64.b64encode(data).decode() for name, data in files.items()}
    page.evaluate("""(files) => {
        const transfer = new DataTransfer();
        for (const [name, data] of Object.entries(files)) {
            transfer.items.add(new File([Uint8Array.from(atob(data), (c) => c.charCodeAt(0))], name));
        }
        document.getElementById("stage").dispatchEvent(new DragEvent("drop", { bubbles: true, dataTransfer: transfer }));
    }""", packed)


def test_a_scan_is_chosen_segmented_and_downloaded(page, fake, scan):
    choose(page, scan)
    segment(page)
    page.get_by_role("row", name="Anterior").wait_for()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    assert gzip.decompress(download.value.path().read_bytes())[344:347] == b"n+1"
    assert download.value.suggested_filename == "case_nifti.nii.gz"
    assert fake.forms[0]["model"] == "hippocampus" and fake.forms[0]["files"] == ["scan.nii.gz"]
    assert page.locator("#panel").get_by_text("Needs review.").is_visible()
    assert faults(page) == []


@pytest.mark.slow
def test_dropped_files_become_the_channels_that_their_names_say_and_each_field_may_stay_empty(page, fake):
    page.get_by_label("One of 2 models").select_option("tumour")
    drop(page, {"case_flair.nii.gz": image(), "case_t1.nii.gz": image()})
    page.get_by_text("The model rests on T1 and FLAIR. It does without T2, age and sex").wait_for()
    page.get_by_label("age (years)").fill("61")
    page.get_by_text("The model rests on T1, FLAIR and age. It does without T2 and sex").wait_for()
    segment(page)
    page.get_by_role("row", name="Anterior").wait_for()
    sent = fake.forms[0]
    assert dict(zip(sent["files"], json.loads(json.dumps(sent["channels"])), strict=True)) == {
        "case_flair.nii.gz": "FLAIR", "case_t1.nii.gz": "T1"}
    assert json.loads(sent["row"]) == {"age": 61, "sex": None}


@pytest.mark.slow
def test_a_required_channel_that_is_missing_is_named_and_a_file_can_be_added(page, fake, scan, tmp_path):
    page.get_by_label("One of 2 models").select_option("tumour")
    choose(page, write_image(tmp_path, "head_t1.nii.gz"))
    page.get_by_text("FLAIR is missing. This model needs it.").wait_for()
    assert page.get_by_role("button", name="Segment", exact=True).is_disabled()
    choose(page, scan)
    page.get_by_label("FLAIR").select_option(label="scan.nii.gz")
    segment(page)
    page.get_by_role("row", name="Anterior").wait_for()
    assert sorted(zip(fake.forms[0]["channels"], fake.forms[0]["files"], strict=True)) == [
        ("FLAIR", "scan.nii.gz"), ("T1", "head_t1.nii.gz")]


@pytest.mark.slow
def test_files_that_are_no_images_are_named_and_not_sent(page, fake):
    drop(page, {"notes.txt": b"no image"})
    page.get_by_text("None of these files is an image.").wait_for()
    drop(page, {"notes.txt": b"no image", "scan.nii.gz": image()})
    page.get_by_text("Left out, because it is not an image: notes.txt.").wait_for()
    segment(page)
    page.get_by_role("row", name="Anterior").wait_for()
    assert fake.forms[0]["files"] == ["scan.nii.gz"]


@pytest.mark.slow
def test_a_dicom_study_asks_which_series_and_names_from_outside_stay_text(page, fake):
    fake.states = [RUNNING, QUESTION]
    drop(page, {f"{number}.dcm": bytes(128) + b"DICM" for number in range(3)})
    page.get_by_text("A DICOM study, 3 files.").wait_for()
    segment(page)
    page.get_by_text("Two series fit the channel MRI").wait_for()
    assert page.get_by_text("<img src=x onerror=alert(1)>").is_visible()
    page.get_by_role("radio").first.check()
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("row", name="Anterior").wait_for()
    assert fake.answers == [{"MRI": "1.2.3"}]
    assert "channels" not in fake.forms[0] or fake.forms[0]["kind"] == "study"
    assert faults(page) == []


@pytest.mark.slow
def test_clinical_data_of_a_patient_does_not_stay_for_the_next_one(page, fake, tmp_path):
    page.get_by_label("One of 2 models").select_option("tumour")
    page.get_by_label("age (years)").fill("61")
    choose(page, write_image(tmp_path, "a_t1.nii.gz"), write_image(tmp_path, "a_flair.nii.gz"))
    assert page.get_by_label("age (years)").input_value() == "61"
    page.get_by_role("button", name="Remove").click()
    choose(page, write_image(tmp_path, "b_t1.nii.gz"), write_image(tmp_path, "b_flair.nii.gz"))
    assert page.get_by_label("age (years)").input_value() == ""


@pytest.mark.slow
def test_a_failure_says_what_was_found_and_what_to_do(page, fake, scan):
    fake.states = [FAILED]
    choose(page, scan)
    segment(page)
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert "The image has 2 dimensions." in alert.inner_text()
    assert "What to do: Send the volume, not a slice of it." in alert.inner_text()
    fake.states = []
    page.get_by_role("button", name="Change and try again").click()
    segment(page)
    page.get_by_role("row", name="Anterior").wait_for()
    assert len(fake.forms) == 2


@pytest.mark.slow
def test_a_job_is_cancelled_by_its_button(page, fake, scan):
    fake.states = [RUNNING]
    choose(page, scan)
    segment(page)
    page.get_by_text("about 30 s left").wait_for()
    page.get_by_role("button", name="Cancel").click()
    page.locator("#panel").get_by_text("This job was cancelled.").wait_for()
    assert next(iter(fake.jobs.values()))["state"] == "cancelled"


@pytest.mark.slow
def test_a_second_model_on_the_same_images_is_put_side_by_side(page, fake, scan):
    fake.models = [MODELS[0], {**MODELS[0], "name": "other", "title": "Other"}]
    page.reload()
    choose(page, scan)
    segment(page)
    page.get_by_role("button", name="Compare with another model").click()
    page.get_by_text("The same images as before").wait_for()
    segment(page)
    page.get_by_text("A: Hippocampus. B: Other.").wait_for()
    assert fake.forms[1]["inputs_of"] == f"{0:032x}" and fake.forms[1]["model"] == "other"
    assert "with=" in page.url


@pytest.mark.slow
def test_a_job_is_found_again_in_the_list_and_deleted_for_good(page, fake, scan):
    choose(page, scan)
    segment(page)
    page.get_by_role("row", name="Anterior").wait_for()
    page.reload()
    page.get_by_role("row", name="Anterior").wait_for()
    page.get_by_role("button", name="Another scan").click()
    page.get_by_role("link", name="scan.nii.gz").click()
    page.get_by_role("button", name="Delete from the service").click()
    page.get_by_role("dialog").get_by_role("button", name="Delete", exact=True).click()
    page.get_by_text("Drop a scan here").wait_for()
    assert fake.jobs == {}


@pytest.mark.slow
def test_a_token_is_asked_for_and_a_wrong_one_is_refused(page, fake, scan):
    fake.token = "right"
    page.reload()
    for word in ("wrong", "right"):
        page.get_by_role("textbox", name="Token").fill(word)
        page.get_by_role("button", name="Continue").click()
        if word == "wrong":
            page.get_by_text("The service does not know this token.").wait_for()
    choose(page, scan)
    segment(page)
    page.get_by_role("row", name="Anterior").wait_for()
    assert page.evaluate("Object.keys(localStorage)") == []
    assert page.evaluate("sessionStorage.getItem('autoseg.token')") == "right"


@pytest.mark.slow
def test_the_whole_flow_goes_by_keyboard(page, fake, scan):
    def to(name):
        for _ in range(40):
            page.keyboard.press("Tab")
            text = page.evaluate("document.activeElement.textContent || document.activeElement.getAttribute('aria-label')")
            if text == name:
                return
        raise AssertionError(f"{name} is not reached by the Tab key")

    to("Choose files")
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Enter")
    chooser.value.set_files(str(scan))
    page.get_by_text("scan.nii.gz").first.wait_for()
    to("Segment")
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    page.keyboard.press("Enter")
    page.get_by_role("row", name="Anterior").wait_for()
    assert outline == "solid"
    to("Download")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "case_nifti.nii.gz"


@pytest.mark.slow
@pytest.mark.skipif(not AXE.is_file(), reason="needs axe-core: npm ci in autoseg/serve/page")
@pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_state_of_the_page_passes_axe_and_fits_its_width(page, fake, scan, size, scheme):
    fake.models = [MODELS[1], MODELS[0]]
    page.set_viewport_size(size)
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.reload()
    page.get_by_label("One of 2 models").wait_for()
    check(page, "empty")
    choose(page, scan)
    page.get_by_text("are missing. This model needs them.").wait_for()
    check(page, "form")
    page.get_by_label("One of 2 models").select_option("hippocampus")
    segment(page)
    page.get_by_role("row", name="Anterior").wait_for()
    check(page, "result")
    page.get_by_role("button", name="Delete from the service").click()
    check(page, "dialog")
    assert faults(page) == []


def paint(page, scan):
    """Segments a scan, and paints where the cursor is."""
    choose(page, scan)
    segment(page)
    page.get_by_role("row", name="Anterior").wait_for()
    page.get_by_role("button", name="Brush").click()
    page.locator(".nv-pane").first.focus()
    page.keyboard.press("Space")
    page.get_by_text("Not saved").wait_for()


@pytest.mark.slow
def test_a_correction_says_where_it_goes_and_is_sent_with_its_comment(page, fake, scan):
    paint(page, scan)
    page.get_by_role("button", name="Save as correction").click()
    page.get_by_text("the raw dataset Dataset900_Corrections").wait_for()
    assert fake.corrections == []
    page.get_by_label("Comment").fill("leak at the tip")
    page.get_by_role("button", name="Save the correction").click()
    page.get_by_text("Not saved").wait_for(state="hidden")
    (comment, label), = fake.corrections
    assert comment == "leak at the tip" and gzip.decompress(label)[344:347] == b"n+1"
    assert faults(page) == []


@pytest.mark.slow
def test_a_service_that_collects_nothing_offers_no_correction(page, fake, scan):
    fake.collects = ""
    page.reload()
    page.locator(".model").wait_for()
    paint(page, scan)
    assert page.get_by_role("button", name="Discard").is_visible()
    assert not page.get_by_role("button", name="Save as correction").is_visible()
