"""/docs and /redoc from assets inside the installed wheels: no other host is ever asked."""

from __future__ import annotations

import functools
import gzip
import hashlib
import re
from collections.abc import Mapping
from importlib.resources import files
from mimetypes import guess_type

from fastapi import FastAPI
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Crosstape API</title>
<link rel="icon" href="/docs/assets/favicon.png">
<link rel="stylesheet" href="/docs/assets/{style}">
</head>
<body>
<div id="page"></div>
<script src="/docs/assets/{library}"></script>
<script src="/docs/assets/{start}"></script>
</body>
</html>
"""

# Both libraries write style elements as they draw; Redoc searches in a worker that it makes from a blob.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; worker-src blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


_OURS, _LIBRARIES = "crosstape.api_gateway.assets", "fastapi_offline.static"
_ASSETS = {
    "redoc.css": _OURS,
    "start-redoc.js": _OURS,
    "start-swagger.js": _OURS,
    "favicon.png": _LIBRARIES,
    "redoc.standalone.js": _LIBRARIES,
    "swagger-ui-bundle.js": _LIBRARIES,
    "swagger-ui.css": _LIBRARIES,
}
"""Where each file of the pages lies."""
_UNWANTED = re.compile(r"q=0(\.0*)?")


def install_docs(app: FastAPI) -> None:
    """Serve Swagger UI and Redoc over /openapi.json. `fastapi_offline` carries both libraries in its wheel."""

    for name, asset in _assets().items():
        app.add_route(f"/docs/assets/{name}", functools.partial(_answer, asset), include_in_schema=False)

    @app.get("/docs", include_in_schema=False)
    async def swagger(request: Request) -> Response:
        return _page(style="swagger-ui.css", library="swagger-ui-bundle.js", start="start-swagger.js")

    @app.get("/redoc", include_in_schema=False)
    async def redoc(request: Request) -> Response:
        return _page(style="redoc.css", library="redoc.standalone.js", start="start-redoc.js")


def takes_gzip(accepted: str) -> bool:
    """Whether a client that sent this Accept-Encoding wants gzip."""
    choices = (choice.replace(" ", "").lower().partition(";") for choice in accepted.split(","))
    return any(coding == "gzip" and not _UNWANTED.fullmatch(weight) for coding, _, weight in choices)


def has_it(tag: str, known: str) -> bool:
    """Whether a client that sent this If-None-Match has what `tag` names, however a proxy weakened that."""
    return any(one.strip().removeprefix("W/") in (tag, "*") for one in known.split(","))


class _Form(Struct, frozen=True):
    """What a file is sent as, plain or compressed: each has a tag of its own."""

    content: bytes
    tag: str
    encoding: Mapping[str, str]
    media_type: str


class _Asset(Struct, frozen=True):
    """A file that never changes while this process runs."""

    plain: _Form
    packed: _Form


@functools.cache
def _assets() -> Mapping[str, _Asset]:
    return {name: _asset(folder, name) for name, folder in _ASSETS.items()}


def _asset(folder: str, name: str) -> _Asset:
    content = files(folder).joinpath(name).read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:32]
    media_type = guess_type(name)[0] or "application/octet-stream"
    packed = gzip.compress(content, mtime=0)  # replicas have the same bytes under the same tag
    return _Asset(
        _Form(content, f'"{digest}"', {}, media_type),
        _Form(packed, f'"{digest}-gzip"', {"Content-Encoding": "gzip"}, media_type),
    )


async def _answer(asset: _Asset, request: Request) -> Response:
    form = asset.packed if takes_gzip(request.headers.get("Accept-Encoding", "")) else asset.plain
    headers = {"ETag": form.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if has_it(form.tag, request.headers.get("If-None-Match", "")):
        return Response(status_code=304, headers=headers)
    return Response(form.content, headers={**headers, **form.encoding}, media_type=form.media_type)


def _page(*, style: str, library: str, start: str) -> Response:
    text = _PAGE.format(style=style, library=library, start=start)
    return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY})
