"""Strict JSON bodies: Python's own reader also takes NaN, 1e400 and lone surrogates, which no answer can carry.

A name that comes twice in one object is refused too: two readers of it could disagree.

Use as `APIRouter(route_class=StrictJsonRoute)` or `app.router.route_class = StrictJsonRoute`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.routing import APIRoute


class StrictJsonRoute(APIRoute):
    """A route that refuses a body with what strict JSON has not (FastAPI answers 400, we VALIDATION_ERROR 422)."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            return await handler(_StrictRequest(request.scope, request.receive))

        return handle


class _StrictRequest(Request):
    async def json(self) -> Any:
        body = await self.body()
        decoded = msgspec.json.decode(body)
        check_names(body)
        return decoded


def check_names(body: bytes) -> None:
    """Raises ValueError where a name comes twice in one object of the JSON `body`, RecursionError for a deep one."""
    json.loads(body, object_pairs_hook=_unrepeated)


def _unrepeated(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a name comes twice")
