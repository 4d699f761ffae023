"""The pages in the browser and their files, as `npm run build` made them in `autoseg/serve/page/dist`."""

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, Response
from fastapi.staticfiles import StaticFiles

from autoseg.serve.service import Service

PAGES = Path(__file__).parents[1] / "page" / "dist"

# The names of scripts and styles hold a hash of their contents; the page itself is asked for again each time.
_FOR_EVER = "public, max-age=31536000, immutable"
_EACH_TIME = "no-cache"

_NOT_BUILT = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>autoseg</title>
<meta name="viewport" content="width=device-width, initial-scale=1"></head>
<body><main><h1>The page is not built</h1>
<p>The service runs, and its interface works: see <a href="openapi.json">/openapi.json</a>.
Its page in the browser is made by npm (Node 20 or later), in the folder <code>autoseg/serve/page</code> of the source:</p>
<pre>npm ci
npm run build</pre>
<p>Then load this page again. A wheel that was built where npm is has the page in it.</p></main></body></html>
"""


def router(service: Service, pages: Path = PAGES) -> APIRouter:
    """Routes of `/`, `/datasets` and `/static/...`. No token is asked for: the files hold no data."""
    routes = APIRouter(include_in_schema=False)
    files = StaticFiles(directory=pages, check_dir=False)

    async def answer(name: str, request: Request, kept: str) -> Response:
        response = await files.get_response(name, request.scope)
        response.headers["Cache-Control"] = kept
        return response

    async def page(name: str, request: Request) -> Response:
        if not (pages / name).is_file():
            return HTMLResponse(_NOT_BUILT, headers={"Cache-Control": _EACH_TIME})
        return await answer(name, request, _EACH_TIME)

    @routes.get("/")
    async def segment(request: Request) -> Response:
        return await page("index.html", request)

    @routes.get("/datasets")
    async def datasets(request: Request) -> Response:
        return await page("datasets.html", request)

    @routes.get("/static/{name:path}")
    async def static(name: str, request: Request) -> Response:
        return await answer(name, request, _EACH_TIME if name == "LICENSES.txt" else _FOR_EVER)

    return routes
