"""How fast the viewer is in headless Chromium without a graphics processor: `python -m benchmarks.viewer`.

Shows a CT phantom of 256 x 256 x 100 voxels (int16) with a mask, and prints a Markdown table: time until the first picture
and until 3D, and frames per second while slices are scrolled, in one plane and in three planes with 3D. Says how many cores
it may use and how busy the machine is.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
from playwright.sync_api import Page, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from page_service import running
from viewer_page import ARGUMENTS, CHROMIUM, LABELS, app_of, nifti, phantom

SHAPE = (256, 256, 100)
SECONDS = 3

SHOWN = """async (labels) => {
    const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))));
    const [image, mask] = [await blob("image"), await blob("mask")];
    const start = performance.now();
    await viewer.showImages([{ name: "image.nii", modality: "CT", file: image }]);
    await painted();
    const first = performance.now();
    await viewer.showResult("a", { label: { blob: mask }, labels, title: "" });
    await painted();
    return [first - start, performance.now() - first];
}"""
SCROLLED = """async (seconds) => {
    const pane = document.querySelector(".nv-pane");
    const frame = () => new Promise((done) => requestAnimationFrame(done));
    const start = performance.now();
    let frames = 0;
    while (performance.now() - start < seconds * 1000) {
        const key = Math.floor(frames / 40) % 2 ? "ArrowDown" : "ArrowUp";
        pane.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true }));
        await frame();
        frames += 1;
    }
    return frames / ((performance.now() - start) / 1000);
}"""


def measured(page: Page) -> list[tuple[str, str]]:
    first, mask = page.evaluate(SHOWN, LABELS)
    rows = [("first picture of 256 x 256 x 100, int16", f"{first / 1000:.1f} s"), ("its mask", f"{mask / 1000:.1f} s")]
    start = time.perf_counter()
    page.locator(".nv-note").first.wait_for(state="hidden", timeout=60_000)
    rows.append(("3D after that", f"{time.perf_counter() - start:.1f} s"))
    for name, layout in (("three planes and 3D", "all"), ("one plane", "0")):
        page.get_by_label("Layout").select_option(layout)
        page.wait_for_timeout(4000)  # 3D is drawn again before
        rows.append((f"scrolling, {name}", f"{page.evaluate(SCROLLED, SECONDS):.0f} frames/s"))
    return rows


def main() -> None:
    image, labels = phantom(SHAPE)
    affine = np.diag([-1.0, -1.0, 2.5, 1.0])
    files = {"image": nifti(image, affine), "mask": nifti(labels, affine)}
    with running(app_of(files)) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.wait_for_function("window.viewer")
        before = os.getloadavg()[0]
        rows = measured(page)
        browser.close()
    load = f"load {before:.1f} before and {os.getloadavg()[0]:.1f} after"
    print(f"1280 x 800, software rendering, {len(os.sched_getaffinity(0))} cores, {load}\n")
    print("| what | measured |\n|---|---|")
    for row in rows:
        print(f"| {row[0]} | {row[1]} |")


if __name__ == "__main__":
    main()
