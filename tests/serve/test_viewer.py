"""The viewer in a browser, with real clicks and keys: what is painted is compared voxel by voxel with what is saved."""

import gzip
import io
import re
from pathlib import Path

import numpy as np
import pytest

nib = pytest.importorskip("nibabel")
image_library = pytest.importorskip("PIL.Image")
pytest.importorskip("fastapi")
pytest.importorskip("uvicorn")
pytest.importorskip("multipart")
sync_api = pytest.importorskip("playwright.sync_api")

from autoseg.serve.routes.page import PAGES  # noqa: E402
from page_service import running  # noqa: E402
from viewer_page import ARGUMENTS, CHROMIUM, LABELS, app_of, nifti, phantom, show  # noqa: E402

pytestmark = [pytest.mark.skipif(not Path(CHROMIUM).is_file(), reason="needs /usr/bin/chromium"),
              pytest.mark.skipif(not (PAGES / "index.html").is_file(), reason="the page is not built")]

SHAPE = (40, 32, 20)
COSINE, SINE = np.cos(0.3), np.sin(0.3)
AFFINES = {
    "plain": np.array([[2, 0, 0, -40], [0, 2, 0, -32], [0, 0, 5, -50], [0, 0, 0, 1.0]]),
    "flipped": np.array([[-2, 0, 0, 40], [0, -2, 0, 32], [0, 0, 5, -50], [0, 0, 0, 1.0]]),
    "oblique": np.array([[2 * COSINE, -2 * SINE, 0, -30], [2 * SINE, 2 * COSINE, 0, -40], [0, 0, 5, -50], [0, 0, 0, 1]]),
    "turned": np.array([[0, 0, 5, -50], [2, 0, 0, -40], [0, -2, 0, 32], [0, 0, 0, 1.0]]),
}
IMAGE, MASK = phantom(SHAPE)


def files() -> dict[str, bytes]:
    """Images and masks of every affine, a flat one, one with NaN, a constant one and one of four dimensions."""
    made = {f"{name}_{kind}.nii": nifti(values, affine)
            for name, affine in AFFINES.items() for kind, values in (("image", IMAGE), ("mask", MASK.astype(np.int16)))}
    plain = AFFINES["plain"]
    holes = np.where(IMAGE > 80, np.nan, IMAGE.astype(np.float32)).astype(np.float32)
    made |= {"nan_image.nii": nifti(holes, plain), "constant_image.nii": nifti(np.full(SHAPE, 7, np.int16), plain),
             "phases_image.nii": nifti(np.stack([IMAGE, IMAGE + 100], -1), plain),
             "flat_constant_image.nii": nifti(np.full((*SHAPE[:2], 1), 7, np.int16), plain),
             "flat_image.nii": nifti(IMAGE[:, :, :1], plain), "flat_mask.nii": nifti(MASK[:, :, 10:11], plain),
             "entropy.nii": nifti((MASK > 0).astype(np.float32) * 0.6, plain),
             "other_mask.nii": nifti(np.flip(MASK, 0).copy(), plain)}
    return made


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address():
    with running(app_of(files())) as address:
        yield address


@pytest.fixture
def page(browser, address):
    page, said = browser.new_page(viewport={"width": 1000, "height": 700}), []
    page.set_default_timeout(30_000)
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(address)
    page.wait_for_function("window.viewer")
    yield page
    faults = [text for text in said if "GL Driver Message" not in text and "GPU stall" not in text]
    page.close()
    assert faults == []


def pane(page):
    return page.locator(".nv-pane").first


def keys(page, *pressed):
    pane(page).focus()
    for key in pressed:
        page.keyboard.press(key)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def seen(page) -> str:
    return page.locator(".nv-view[role=img]").first.get_attribute("aria-label")


def cursor_mm(page) -> np.ndarray:
    """The position that the viewer says."""
    found = re.search(r"([LR]) ([\d.]+)\s+([PA]) ([\d.]+)\s+([IS]) ([\d.]+) mm", seen(page))
    return np.array([float(found[k + 1]) * (1 if found[k] in "RAS" else -1) for k in (1, 3, 5)])


def click(page, right: float = 0.5, down: float = 0.5):
    box = pane(page).bounding_box()
    page.mouse.click(box["x"] + box["width"] * right, box["y"] + box["height"] * down)
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def saved(page) -> "nib.Nifti1Image":
    """The correction that the viewer hands over."""
    before = page.evaluate("corrections.length")
    page.get_by_role("button", name="Save as correction").click()
    page.wait_for_function(f"corrections.length > {before}")
    correction = page.evaluate("corrections.at(-1)")
    return nib.Nifti1Image.from_bytes(gzip.decompress(bytes(correction["bytes"])))


def painted_at_the_middle(page, name: str) -> tuple["nib.Nifti1Image", np.ndarray]:
    """Paints one dab of the lesion near the middle of the axial plane. What is saved, and where it was (mm)."""
    show(page, f"{name}_image.nii", f"{name}_mask.nii")
    keys(page, "1", "b", "l")
    click(page, 0.55, 0.45)
    where = cursor_mm(page)
    return saved(page), where


def assert_only_a_disc_was_painted(correction, where, mask, affine):
    assert np.allclose(correction.affine, affine, atol=1e-5) and correction.get_data_dtype() == np.int16
    values = np.asanyarray(correction.dataobj)  # the affine is compared with one of 64 bits; NIfTI has 32
    changed = np.argwhere(values != mask)
    assert 0 < len(changed) <= 30 and set(values[values != mask]) == {5}
    away = np.linalg.norm(changed @ affine[:3, :3].T + affine[:3, 3] - where, axis=1)
    assert away.max() <= 4 + 2 and away.min() <= 2  # radius 4 mm, and the dab lies within the voxel that is said


@pytest.mark.parametrize("name", ["plain", *(pytest.param(name, marks=pytest.mark.slow) for name in list(AFFINES)[1:])])
def test_a_dab_is_saved_on_the_grid_of_the_result_where_it_was_clicked(page, name):
    correction, where = painted_at_the_middle(page, name)
    assert_only_a_disc_was_painted(correction, where, MASK, AFFINES[name])


def sheet(page, plane: int, kind: str) -> np.ndarray:
    """The pixels of a plane's slice as they are on its canvas. [uint8, y x 4]"""
    pixels = page.evaluate("""([plane, kind]) => {
        const canvas = document.querySelectorAll(".nv-plane")[plane].querySelector(kind);
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
        return [canvas.height, canvas.width, Array.from(data)];
    }""", [plane, kind])
    return np.array(pixels[2], np.uint8).reshape(pixels[0], pixels[1], 4)


def slices_at(values: np.ndarray, affine: np.ndarray, where: np.ndarray) -> list[np.ndarray]:
    """The slices through a position (mm) as they belong on the screen: right of the patient or front on the left, front or
    head on top. [y x]"""
    turned = nib.as_closest_canonical(nib.Nifti1Image(values, affine))
    x, y, z = np.rint(np.linalg.inv(turned.affine) @ [*where, 1])[:3].astype(int)
    values = np.asanyarray(turned.dataobj)[::-1, ::-1, ::-1]
    x, y, z = np.array(values.shape) - 1 - (x, y, z)
    return [values[:, :, z].T, values[:, y].T, values[x].T]


@pytest.mark.parametrize("name", ["plain", *(pytest.param(name, marks=pytest.mark.slow) for name in list(AFFINES)[1:])])
def test_a_slice_has_the_window_of_its_voxels_and_the_colours_of_its_labels(page, name):
    show(page, f"{name}_image.nii", f"{name}_mask.nii")
    where = cursor_mm(page)
    images, masks = (slices_at(values, AFFINES[name], where) for values in (IMAGE, MASK.astype(np.int16)))
    for plane, (image, mask) in enumerate(zip(images, masks, strict=True)):
        grey = np.clip(np.floor((image + 160) / 400 * 256), 0, 255)  # soft tissue: -160 to 240 HU
        assert np.array_equal(sheet(page, plane, ".nv-image"), np.stack([grey, grey, grey, np.full(grey.shape, 255)], -1))
        colors = np.zeros((6, 4), np.uint8)
        colors[1], colors[5] = (0x3C, 0xB4, 0x4B, 255), (0xE6, 0x19, 0x4B, 255)
        assert np.array_equal(sheet(page, plane, ".nv-labelled"), colors[mask])


def pixel(page, plane: int, column: int, row: int) -> np.ndarray:
    """The colour on the screen of the middle of a pixel of a slice. [red green blue]"""
    canvas = page.locator(".nv-plane").nth(plane).locator(".nv-image")
    box, (width, height) = canvas.bounding_box(), canvas.evaluate("(sheet) => [sheet.width, sheet.height]")
    x, y = box["x"] + (column + 0.5) / width * box["width"], box["y"] + (row + 0.5) / height * box["height"]
    shot = page.screenshot(clip={"x": int(x), "y": int(y), "width": 1, "height": 1})
    return np.asarray(image_library.open(io.BytesIO(shot)).convert("RGB"))[0, 0].astype(float)


def test_a_label_is_blended_with_its_opacity_is_hidden_and_leaves_an_outline(page):
    show(page, "flat_constant_image.nii", "flat_mask.nii", modality="MR")
    mask = np.flip(MASK[:, :, 10]).T
    middle = np.argwhere(mask).mean(0)  # lines through the cursor lie there
    row, column = next((y, x) for y, x in np.argwhere(mask == 1)
                       if abs((y, x) - middle).min() > 3 and (mask[y - 1:y + 2, x - 1:x + 2] == 1).all())
    grey, green = np.full(3, 128), np.array([0x3C, 0xB4, 0x4B])
    assert np.abs(pixel(page, 0, column, row) - (grey + green) / 2).max() <= 2
    keys(page, "f")
    assert np.abs(pixel(page, 0, column, row) - grey).max() <= 2  # an outline has a clear inside
    assert page.locator(".nv-borders:visible").count() == 1
    keys(page, "f", "o")
    assert np.abs(pixel(page, 0, column, row) - grey).max() <= 2


@pytest.mark.slow
def test_what_is_undone_is_gone_and_a_mask_without_edits_cannot_be_saved(page):
    show(page, "turned_image.nii", "turned_mask.nii")
    keys(page, "1", "e")
    for step in range(21):
        click(page, 0.4 + step / 100, 0.5)
    assert page.evaluate("viewer.hasUnsavedEdits()") and page.get_by_text("Not saved").is_visible()
    keys(page, *["Control+z"] * 21)
    assert not page.evaluate("viewer.hasUnsavedEdits()")
    assert page.get_by_role("button", name="Save as correction").is_disabled()
    keys(page, "Control+y")
    assert page.evaluate("viewer.hasUnsavedEdits()")
    page.get_by_role("button", name="Discard").click()
    page.get_by_role("dialog").get_by_role("button", name="Discard").click()
    page.wait_for_function("!viewer.hasUnsavedEdits()")


@pytest.mark.slow
def test_the_keyboard_alone_scrolls_paints_and_saves(page):
    show(page, "plain_image.nii", "plain_mask.nii")
    before = seen(page)
    keys(page, "1", "ArrowUp", "Shift+ArrowRight")
    assert seen(page) != before and "Axial slice" in seen(page)
    where = cursor_mm(page)
    keys(page, "b", "l", "]", "Space")
    keys(page, "Control+s")
    page.wait_for_function("corrections.length")
    correction = nib.Nifti1Image.from_bytes(gzip.decompress(bytes(page.evaluate("corrections[0].bytes"))))
    voxel = tuple(np.rint(np.linalg.inv(AFFINES["plain"]) @ [*where, 1])[:3].astype(int))
    assert np.asanyarray(correction.dataobj)[voxel] == 5


@pytest.mark.slow
def test_the_wheel_scrolls_one_slice_and_the_text_says_what_is_there(page):
    show(page, "plain_image.nii", "plain_mask.nii")
    keys(page, "1")
    at = int(re.search(r"slice (\d+) of 20", seen(page))[1])
    pane(page).hover()
    page.mouse.wheel(0, 100)
    page.wait_for_function(f"document.querySelector('.nv-view[role=img]').ariaLabel.includes('slice {at + 1} of 20')")
    assert "HU" in seen(page) and any(label["name"] in seen(page) for label in LABELS)


@pytest.mark.slow
def test_a_distance_is_measured_in_millimetres(page):
    show(page, "plain_image.nii")
    keys(page, "1", "Home")
    click(page, 0.5, 0.5)
    start = cursor_mm(page)
    click(page, 0.6, 0.5)
    end = cursor_mm(page)
    keys(page, "m")
    box = pane(page).bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.6, middle, steps=4)
    page.mouse.up()
    shown = float(re.search(r"Distance ([\d.]+) mm", page.locator("#said").inner_text())[1])
    assert abs(shown - np.linalg.norm(end - start)) <= 2  # the positions are those of voxels of 2 mm


@pytest.mark.slow
def test_two_results_are_side_by_side_with_one_cursor(page):
    show(page, "plain_image.nii", "plain_mask.nii")
    page.evaluate("""async (labels) => {
        await viewer.showResult("b", { label: { blob: await blob("other_mask.nii") }, labels, title: "Model B" });
    }""", LABELS)
    page.wait_for_function("document.querySelectorAll('.nv-pane:not([hidden])').length === 2")
    page.get_by_text("Model B", exact=True).wait_for()
    keys(page, "1", "ArrowUp")
    texts = [canvas.get_attribute("aria-label") for canvas in page.locator(".nv-view[role=img]").all()]
    slices = {re.search(r"slice \d+ of 20, [^,]*", text)[0] for text in texts}
    assert len(texts) == 2 and len(slices) == 1 and "Model A" in texts[0] and "Model B" in texts[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nan", "constant", "phases"])
def test_odd_images_are_shown(page, name):
    show(page, f"{name}_image.nii", "plain_mask.nii", modality="MR")
    assert "slice" in seen(page) and f"{name}_image" in seen(page)
    assert page.get_by_label("Time point").is_visible() == (name == "phases")


@pytest.mark.slow
def test_a_flat_image_is_painted_in_its_only_plane(page):
    show(page, "flat_image.nii", "flat_mask.nii")
    keys(page, "e")
    click(page, 0.45, 0.5)
    values = np.asanyarray(saved(page).dataobj)
    assert (values != MASK[:, :, 10:11]).any() and set(values[values != MASK[:, :, 10:11]]) == {0}


@pytest.mark.slow
def test_uncertainty_windows_and_labels_follow_their_menus(page):
    show(page, "plain_image.nii", "plain_mask.nii", entropy="entropy.nii")
    page.get_by_role("button", name="Uncertainty").click()
    page.get_by_label("Layer").select_option("entropy")
    page.get_by_text("0.6 nats").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Window").click()
    page.get_by_label("Preset").select_option("lung")
    sync_api.expect(page.get_by_label("Black at")).to_have_value("-1350")
    sync_api.expect(page.get_by_label("White at")).to_have_value("150")
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Labels").click()
    page.get_by_role("group", name="Labels").get_by_label("Lesion").uncheck()
    assert page.locator("#said").inner_text() == "Lesion hidden"
    page.keyboard.press("Escape")
    keys(page, "o")
    assert page.locator("#said").inner_text() == "Labels hidden"
    keys(page, "?")
    assert page.get_by_role("dialog").get_by_text("Previous or next slice").is_visible()
