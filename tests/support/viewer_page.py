"""A page with nothing but the viewer, for tests and measurements of it: what it shows comes from memory."""

import re
from typing import Any

import nibabel as nib
import numpy as np
from fastapi import FastAPI, Response
from fastapi.responses import FileResponse, HTMLResponse

from autoseg.serve.routes.page import PAGES

ARGUMENTS = ["--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking",
             "--disable-component-update", "--disable-sync", "--use-gl=angle", "--use-angle=swiftshader",
             "--enable-unsafe-swiftshader"]
CHROMIUM = "/usr/bin/chromium"
LABELS = [{"name": "Organ", "values": [1], "color": "#3cb44b"}, {"name": "Lesion", "values": [5], "color": "#e6194b"}]

HTML = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Viewer</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">
<link rel="stylesheet" href="static/{style}">
<style>html, body {{ height: 100%; margin: 0; }} main {{ height: 100%; }}</style></head>
<body><main class="stage"><div id="bar" class="viewer-toolbar"></div><div id="viewer" class="viewer"></div></main>
<div id="said" role="status"></div>
<script type="module">
import {{ createViewer }} from "./static/{script}";
window.corrections = [];
window.viewer = await createViewer(document.getElementById("viewer"), {{
  announce: (text) => {{ document.getElementById("said").textContent = text; }},
  onCorrection: async (blob) => {{
    const bytes = new Uint8Array(await blob.arrayBuffer());
    window.corrections.push({{ bytes: Array.from(bytes) }});
  }},
}});
document.getElementById("bar").append(window.viewer.toolbar);
window.blob = async (name) => (await fetch("files/" + name)).blob();
</script></body></html>"""


def entry() -> str:
    """The name of the built script that exports the viewer."""
    [name] = [path.name for path in PAGES.glob("*.js") if re.search(r"export\s*\{[^}]*\bcreateViewer\b", path.read_text())]
    return name


def app_of(files: dict[str, bytes]) -> FastAPI:
    """The page at `/` and `files` by name below `/files`."""
    app = FastAPI()
    html = HTML.format(script=entry(), style=next(PAGES.glob("main-*.css")).name)

    @app.get("/")
    async def page() -> HTMLResponse:
        return HTMLResponse(html)

    @app.get("/static/{name}")
    async def static(name: str) -> FileResponse:
        return FileResponse(PAGES / name)

    @app.get("/files/{name}")
    async def file(name: str) -> Response:
        return Response(files[name], media_type="application/octet-stream")

    return app


def nifti(values: np.ndarray, affine: np.ndarray) -> bytes:
    """The bytes of a NIfTI-1 file."""
    return nib.Nifti1Image(values, affine).to_bytes()


def phantom(shape: tuple[int, ...], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A body in air with an organ (1) and a lesion (5) in it: image in HU [int16], labels [uint8]."""
    lines = [np.linspace(-1, 1, n, dtype=np.float32) if n > 1 else np.zeros(1, np.float32) for n in shape]
    axes = np.meshgrid(*lines, indexing="ij")
    x, y = axes[0], axes[1]
    z = axes[2] if len(axes) > 2 else np.zeros_like(x)
    labels = np.zeros(shape, np.uint8)
    labels[(x + 0.25) ** 2 + y**2 + (z / 0.8) ** 2 < 0.25] = 1
    labels[(x + 0.35) ** 2 + (y - 0.1) ** 2 + z**2 < 0.03] = 5
    image = np.where(x**2 + (y / 0.8) ** 2 < 0.85, 30, -1000) + 60 * (labels == 1) + 20 * (labels == 5)
    noise = np.random.default_rng(seed).normal(0, 12, shape).astype(np.float32)
    return (image + noise).astype(np.int16), labels


def show(page: Any, image: str, label: str = "", modality: str = "CT", **layers: str) -> None:
    """Shows an image and a result from the files of the page."""
    page.evaluate("""async ({image, label, modality, labels, layers}) => {
        await viewer.showImages([{ name: image, modality, file: await blob(image) }]);
        const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
        await painted();
        if (!label) return;
        const extra = {};
        for (const [kind, name] of Object.entries(layers)) extra[kind] = { blob: await blob(name) };
        await viewer.showResult("a", { label: { blob: await blob(label) }, labels, title: "Model A", ...extra });
        await painted();
    }""", {"image": image, "label": label, "modality": modality, "labels": LABELS, "layers": layers})
