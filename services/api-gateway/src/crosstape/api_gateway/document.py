"""/openapi.json: fetched in parts from the services, kept, and fetched again when it is old."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping

import msgspec
import structlog

from crosstape.api_gateway.openapi import ServiceDocument, platform_document
from crosstape.api_gateway.responses import Json
from crosstape.api_gateway.routes import Route
from crosstape.api_gateway.service_connection import Broken
from crosstape.api_gateway.upstream import Upstream

log = structlog.get_logger(__name__)

_FETCH_SECONDS = 2.0
_RETRY_SECONDS = 1.0
_PATIENCE_SECONDS = 0.2
"""How long a request waits for a newer document than there is."""


class PlatformDocument:
    """The encoded document. A service that is down keeps the part it gave last; before that it has a short one."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        routes: Iterable[Route],
        max_age_seconds: float,
        *,
        anonymous_read: bool,
    ):
        self._upstreams = upstreams
        self._routes = tuple(routes)
        self._max_age = max_age_seconds
        self._anonymous_read = anonymous_read
        self._services: dict[str, ServiceDocument] = {}
        self._encoded = b""
        self._due = 0.0
        self._renewing: asyncio.Task[None] | None = None

    async def current(self, own: Callable[[], Json]) -> bytes:
        """The document as JSON; `own` makes the gateway's part. Nobody waits for a service that hangs but the first."""
        if self._renewing is None and time.monotonic() >= self._due:
            self._renewing = asyncio.create_task(self._renew(own), name="document")
        if renewing := self._renewing:
            await asyncio.wait({renewing}, timeout=_PATIENCE_SECONDS if self._encoded else None)
            if renewing.done():
                renewing.result()
        return self._encoded

    async def _renew(self, own: Callable[[], Json]) -> None:
        try:
            before = dict(self._services)
            got_all = all(await asyncio.gather(*map(self._fetch, self._upstreams.values())))
            if self._services != before or not self._encoded:
                document = platform_document(own(), self._services, self._routes, anonymous_read=self._anonymous_read)
                self._encoded = msgspec.json.encode(document)
            self._due = time.monotonic() + (self._max_age if got_all else _RETRY_SECONDS)
        finally:
            self._renewing = None

    async def _fetch(self, upstream: Upstream) -> bool:
        try:
            self._services[upstream.name] = await upstream.get("/openapi.json", ServiceDocument, _FETCH_SECONDS)
        except (Broken, TimeoutError, ValueError) as error:
            log.warning("document_unavailable", upstream=upstream.name, error=repr(error))
            return False
        return True
