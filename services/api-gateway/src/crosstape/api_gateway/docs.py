"""/docs and /redoc from assets inside the installed wheels: no other host is ever asked."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

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


def install_docs(app: FastAPI) -> None:
    """Serve Swagger UI and Redoc over /openapi.json. `fastapi_offline` carries both libraries in its wheel."""
    assets = StaticFiles(
        packages=[("crosstape.api_gateway", "assets"), ("fastapi_offline", "static")],
    )
    app.mount("/docs/assets", GZipMiddleware(assets))

    @app.get("/docs", include_in_schema=False)
    async def swagger(request: Request) -> Response:
        return _page(style="swagger-ui.css", library="swagger-ui-bundle.js", start="start-swagger.js")

    @app.get("/redoc", include_in_schema=False)
    async def redoc(request: Request) -> Response:
        return _page(style="redoc.css", library="redoc.standalone.js", start="start-redoc.js")


def _page(*, style: str, library: str, start: str) -> Response:
    text = _PAGE.format(style=style, library=library, start=start)
    return HTMLResponse(text, headers={"Content-Security-Policy": _POLICY})
