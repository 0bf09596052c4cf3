"""The error answers of a route, for its document."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel

from crosstape.common import errors
from crosstape.common.errors import PlatformError


class Error(BaseModel):
    """The contract's body of every error."""

    success: Literal[False]
    error_code: str
    message: str
    details: dict[str, Any]
    timestamp: str
    detail: str


_SAID: dict[type[PlatformError], str] = {
    errors.Unauthenticated: "This needs a Bearer token: log in (POST /login), or use an API key.",
    errors.Forbidden: "This credential lacks the scope admin.",
    errors.DataNotFound: "No account has this name.",
    errors.Conflict: "The username bob is taken.",
    errors.PayloadTooLarge: "The body may have 262144 bytes.",
    errors.ValidationFailed: "Invalid request: password: at least 8 characters.",
    errors.RateLimited: "Too many failed attempts. Try again in 4 s.",
    errors.PlatformError: "An unexpected error occurred. It has been logged.",
    errors.DatabaseConnectionError: "The accounts are out of reach. Try again in a moment.",
}
_ALWAYS = (401, 413, 422, 429, 500, 503)


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """FastAPI's `responses` of a route: the errors any route may give, and those of `statuses`."""
    by_status = {kind.status: (kind, text) for kind, text in _SAID.items()}
    return {status: _answer(*by_status[status]) for status in sorted({*_ALWAYS, *statuses})}


def _answer(kind: type[PlatformError], text: str) -> dict[str, Any]:
    example = {
        "success": False,
        "error_code": kind.error_code,
        "message": text,
        "details": {"retry_after": 4} if kind is errors.RateLimited else {},
        "timestamp": "2025-11-13T10:30:45.123Z",
        "detail": text,
    }
    return {"model": Error, "description": text, "content": {"application/json": {"example": example}}}
