"""One request's way through: to the service, its answer back, both bodies as streams, under deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import structlog
from starlette.types import Receive, Scope, Send

from crosstape.api_gateway import traces
from crosstape.api_gateway.client import Client
from crosstape.api_gateway.connection import Broken, Busy, Connection
from crosstape.api_gateway.deadline import Deadline, Deadlines
from crosstape.api_gateway.exchange import exchange_of
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
from crosstape.api_gateway.trial import Trial
from crosstape.api_gateway.upstream import Upstream, read_body
from crosstape.common.errors import ValidationFailed
from crosstape.common.identity.address import network_of
from crosstape.common.identity.principal import Caller

log = structlog.get_logger(__name__)

LARGEST_ERROR = 64 * 1024


def forward(
    upstream: Upstream,
    path: str,
    caller: Caller,
    scope: Scope,
    receive: Receive,
    send: Send,
    settings: GatewaySettings,
    deadlines: Deadlines,
) -> Awaitable[None]:
    """Answer the request in `scope` with the service's answer to `path`.

    Raises PlatformError as long as the answer has not begun. What fails later cuts the answer short, so that the
    client can tell. When the client leaves, the service's request is cancelled.
    """
    return _Passage(upstream, caller, scope, receive, send, settings, deadlines).run(path)


def target_of(path: str, scope: Scope) -> bytes:
    """What a service is asked for: the checked path, and the query as it came."""
    query: bytes = scope["query_string"]
    return b"%b?%b" % (path.encode(), query) if query else path.encode()


class _Passage:
    def __init__(
        self,
        upstream: Upstream,
        caller: Caller,
        scope: Scope,
        receive: Receive,
        send: Send,
        settings: GatewaySettings,
        deadlines: Deadlines,
    ):
        self._upstream = upstream
        self._caller = caller
        self._scope = scope
        self._send = send
        self._settings = settings
        self._exchange = exchange_of(scope)
        self._client = Client(receive, self._exchange.body_length, settings.body_limit_bytes)
        self._trial = Trial(upstream, self._exchange.request_id)
        self._deadline = Deadline(deadlines, self._exchange.task, settings.request_deadline_seconds)
        self._waits_for_client = False

    async def run(self, path: str) -> None:
        with self._trial:
            self._exchange.on_lost = self._leave
            try:
                with self._deadline:
                    await self._pass(path)
            except Broken as error:
                if self._client.failure:
                    raise self._client.failure from error
                if not self._client.is_gone:
                    raise unreachable(self._upstream.name) from error
            except Busy as error:
                UPSTREAM_FAILURES.labels(self._upstream.name, "busy").inc()
                raise unavailable(self._upstream.name, 1) from error
            except TimeoutError as error:
                self._timed_out(error)
            finally:
                self._exchange.on_lost = None

    async def _pass(self, path: str) -> None:
        scope = self._scope
        is_head = scope["method"] == "HEAD"
        method = "GET" if is_head else scope["method"]
        headers = to_service(scope["headers"])
        headers.append((b"x-request-id", self._exchange.request_id.encode()))
        if self._exchange.span is not None:
            headers.append(traces.to_service(self._exchange.span))
        if self._client.length is None:
            headers.append((b"transfer-encoding", b"chunked"))
        elif self._client.has_body or method != "GET":
            headers.append((b"content-length", b"%d" % self._client.length))
        connection = await self._upstream.ask(
            method,
            target_of(path, scope),
            headers,
            self._caller,
            has_body=self._client.has_body,
        )
        sending = None
        try:
            if self._client.has_body:
                sending = asyncio.create_task(self._send_body(connection), name="request-body")
                await connection.head()
            await self._exchange.judged()
            if not (200 <= connection.status < 300 or connection.status == 304):
                await self._pass_error(connection)
                return
            if not is_head:
                await connection.collect()
            self._upstream.breaker.began()
            if is_head:
                await self._begin(connection)
                await self._send({"type": "http.response.body"})
            elif connection.is_whole:
                await self._stream(connection)
            else:
                await self._stream_long(connection)
            self._trial.is_answered = True
        finally:
            if sending:
                sending.cancel()
            self._upstream.release(connection)

    async def _send_body(self, connection: Connection) -> None:
        is_chunked = self._client.length is None
        try:
            async for piece in self._client.body():
                connection.write(b"%x\r\n%b\r\n" % (len(piece), piece) if is_chunked else piece)
                await connection.drain()
            if is_chunked:
                connection.write(b"0\r\n\r\n")
            connection.is_sent = True
        except EOFError:  # the body is too large, or the client left: see `failure`
            connection.abort()

    async def _begin(self, connection: Connection) -> None:
        self._trial.has_begun = True
        headers = to_client(connection.headers)
        await self._send({"type": "http.response.start", "status": connection.status, "headers": headers})
        if not connection.is_ready:
            await self._send({"type": "http.response.body", "more_body": True})  # let the head go

    async def _stream_long(self, connection: Connection) -> None:
        network = network_of(self._caller.address)
        self._upstream.streams.open(network)
        try:
            await self._stream(connection)
        finally:
            self._upstream.streams.close(network)

    async def _stream(self, connection: Connection) -> None:
        """The service has the deadline for each part; a client that takes nothing for too long is cut."""
        await self._begin(connection)
        is_last = False
        while not is_last:
            part = await connection.part()
            is_last = connection.is_read
            self._waits_for_client = True
            self._move(self._settings.client_stall_seconds)
            await self._send({"type": "http.response.body", "body": part, "more_body": not is_last})
            self._waits_for_client = False
            if not is_last:
                self._move(self._settings.request_deadline_seconds)

    async def _pass_error(self, connection: Connection) -> None:
        body = await read_body(connection, LARGEST_ERROR) or b""
        if connection.status < 400 or not is_contract_error(body):
            answer = replacement(self._upstream.name, connection.status)
            self._trial.is_answered = not isinstance(answer, UpstreamFailed)
            raise answer
        self._trial.is_answered = True
        await self._begin(connection)
        await self._send({"type": "http.response.body", "body": body})

    def _move(self, seconds: float) -> None:
        if not self._client.is_gone:
            self._deadline.move(seconds)

    def _leave(self) -> None:
        self._client.is_gone = True
        self._deadline.end()

    def _timed_out(self, error: TimeoutError) -> None:
        if self._client.is_gone:
            return
        if self._client.is_awaited:
            seconds = f"{self._settings.request_deadline_seconds:g}"
            raise ValidationFailed(f"The body did not arrive within {seconds} s.") from error
        if self._waits_for_client:
            log.warning("client_stalled", upstream=self._upstream.name, request_id=self._exchange.request_id)
            return
        raise too_slow(self._upstream.name, self._settings.request_deadline_seconds) from error
