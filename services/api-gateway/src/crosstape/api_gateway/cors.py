"""What browsers are told about calls from pages of other origins."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from crosstape.api_gateway.refusal import BadRequest
from crosstape.common.web.errors import error_response

_EXPOSED = (
    "X-Request-ID", "X-Process-Time", "Deprecation", "Retry-After", "RateLimit-Limit", "RateLimit-Remaining",
    "RateLimit-Reset", "X-Next-Cursor", "X-Quote-Alias",
)  # fmt: skip


class Cors(CORSMiddleware):
    """Lets pages of `origins` (`*` for all) call `app`. What it refuses gets the contract's error."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]):
        super().__init__(
            app,
            allow_origins=origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=_EXPOSED,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        """The answer to a browser that asks whether a page may make a request."""
        response = super().preflight_response(request_headers)
        if response.status_code == 200:
            return response
        return error_response(BadRequest(f"{bytes(response.body).decode()}."), {"Vary": "Origin"})
