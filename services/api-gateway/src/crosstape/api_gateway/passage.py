"""One request's way through: to the service, its answer back, both bodies as streams, under deadlines."""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import structlog
from starlette.types import Receive, Scope, Send

from crosstape.api_gateway.client import Client
from crosstape.api_gateway.failures import (
    UpstreamFailed,
    is_contract_error,
    replacement,
    too_slow,
    unavailable,
    unreachable,
)
from crosstape.api_gateway.headers import to_client, to_service
from crosstape.api_gateway.metrics import UPSTREAM_FAILURES
from crosstape.api_gateway.settings import GatewaySettings
from crosstape.api_gateway.upstream import Upstream
from crosstape.common.errors import ValidationFailed

log = structlog.get_logger(__name__)

_LARGEST_ERROR = 64 * 1024


async def forward(
    upstream: Upstream, path: str, scope: Scope, receive: Receive, send: Send, settings: GatewaySettings
) -> None:
    """Answer the request in `scope` with the service's answer to `path`.

    Raises PlatformError as long as the answer has not begun. What fails later cuts the answer short, so that the
    client can tell. When the client leaves, the service's request is cancelled.
    """
    now = asyncio.get_running_loop().time
    client = Client(receive, scope["headers"], settings.body_limit_bytes)
    if not upstream.breaker.admits(now()):
        UPSTREAM_FAILURES.labels(upstream.name, "breaker_open").inc()
        raise unavailable(upstream.name, upstream.breaker.retry_after(now()))
    passage = _Passage(upstream, client, scope, send, settings)
    try:
        await passage.run(path)
    except UpstreamFailed as failure:
        upstream.breaker.failed(now())
        UPSTREAM_FAILURES.labels(upstream.name, failure.reason).inc()
        log.warning("upstream_failed", upstream=upstream.name, reason=failure.reason, cause=repr(failure.__cause__))
        if not passage.has_begun:
            raise failure.answer from failure
    finally:
        if passage.is_answered:
            upstream.breaker.succeeded()
        else:
            upstream.breaker.abandoned()


class _Passage:
    def __init__(self, upstream: Upstream, client: Client, scope: Scope, send: Send, settings: GatewaySettings):
        self._upstream = upstream
        self._client = client
        self._scope = scope
        self._send = send
        self._settings = settings
        self._clock = asyncio.timeout(settings.request_deadline_seconds)
        self.has_begun = False
        self.is_answered = False
        self._waits_for_client = False

    async def run(self, path: str) -> None:
        """Raises UpstreamFailed, and PlatformError for what the client did wrong."""
        leaving = asyncio.create_task(self._stop_when_client_leaves(), name="client-leaves")
        try:
            async with self._clock:
                await self._pass(path)
        except aiohttp.ClientError as error:
            if self._client.failure:
                raise self._client.failure from error
            if not self._client.is_gone:
                raise unreachable(self._upstream.name) from error
        except TimeoutError as error:
            self._timed_out(error)
        finally:
            leaving.cancel()

    async def _pass(self, path: str) -> None:
        is_head = self._scope["method"] == "HEAD"
        response = await self._upstream.ask(
            "GET" if is_head else self._scope["method"],
            path,
            self._scope["query_string"].decode("ascii"),
            to_service(self._scope["headers"], self._scope["state"]["request_id"]),
            self._client.body() if self._client.has_body else None,
        )
        try:
            if response.status >= 300 and response.status != 304:
                await self._pass_error(response)
                return
            await self._begin(response)
            if is_head:
                await self._send({"type": "http.response.body"})
            else:
                await self._stream(response.content)
            self.is_answered = True
        finally:
            response.close()

    async def _begin(self, response: aiohttp.ClientResponse) -> None:
        self.has_begun = True
        headers = to_client(response.raw_headers)
        await self._send({"type": "http.response.start", "status": response.status, "headers": headers})

    async def _stream(self, content: aiohttp.StreamReader) -> None:
        """The service has the deadline for each part; a client that takes nothing for too long is cut."""
        is_last = False
        while not is_last:
            self._allow(self._settings.request_deadline_seconds)
            part = await content.readany()
            is_last = content.at_eof()
            self._waits_for_client = True
            self._allow(self._settings.client_stall_seconds)
            await self._send({"type": "http.response.body", "body": part, "more_body": not is_last})
            self._waits_for_client = False

    async def _pass_error(self, response: aiohttp.ClientResponse) -> None:
        length = response.content_length
        body = await response.read() if length is not None and length <= _LARGEST_ERROR else b""
        if response.status < 400 or not is_contract_error(body):
            answer = replacement(self._upstream.name, response.status)
            self.is_answered = not isinstance(answer, UpstreamFailed)
            raise answer
        self.is_answered = True
        await self._begin(response)
        await self._send({"type": "http.response.body", "body": body})

    def _allow(self, seconds: float) -> None:
        if not self._client.is_gone:
            self._clock.reschedule(asyncio.get_running_loop().time() + seconds)

    async def _stop_when_client_leaves(self) -> None:
        await self._client.leaves()
        with contextlib.suppress(RuntimeError):  # it is over already
            self._clock.reschedule(0)

    def _timed_out(self, error: TimeoutError) -> None:
        if self._client.is_gone:
            return
        if self._client.is_awaited:
            seconds = f"{self._settings.request_deadline_seconds:g}"
            raise ValidationFailed(f"The body did not arrive within {seconds} s.") from error
        if self._waits_for_client:
            log.warning("client_stalled", upstream=self._upstream.name)
            return
        raise too_slow(self._upstream.name, self._settings.request_deadline_seconds) from error
