"""One request's way through: whole to the service, its answer back as a stream, under deadlines."""

from __future__ import annotations

from collections.abc import Awaitable

from starlette.types import Receive, Scope, Send

from crosstape.api_gateway import traces
from crosstape.api_gateway.deadline import Deadline, Deadlines
from crosstape.api_gateway.failures import (
    UpstreamFailed,
    identity_refused,
    is_contract_error,
    is_identity_refusal,
    replacement,
    too_slow,
    unavailable,
    unreachable,
)
from crosstape.api_gateway.headers import to_client, to_service
from crosstape.api_gateway.metrics import UPSTREAM_FAILURES
from crosstape.api_gateway.refusal import RequestTimeout
from crosstape.api_gateway.request_body import Bodies, whole_body
from crosstape.api_gateway.service_connection import Broken, Busy, ServiceConnection
from crosstape.api_gateway.settings import GatewaySettings
from crosstape.api_gateway.trial import Trial
from crosstape.api_gateway.turn import turn_of
from crosstape.api_gateway.upstream import Upstream, read_body
from crosstape.common.identity.address import network_of
from crosstape.common.identity.principal import Caller

LARGEST_ERROR = 64 * 1024


class Passages:
    """All of them: they share the room for bodies, and a timer."""

    def __init__(self, settings: GatewaySettings):
        self.seconds = settings.request_deadline_seconds
        self.deadlines = Deadlines()
        self.bodies = Bodies(settings.body_limit_bytes)

    def forward(
        self, upstream: Upstream, path: str, caller: Caller, scope: Scope, receive: Receive, send: Send
    ) -> Awaitable[None]:
        """Answer the request in `scope` with the service's answer to `path`.

        Raises PlatformError as long as the answer has not begun. What fails later cuts the answer short, so that the
        client can tell. A client that leaves ends its service's request too, and begins none.
        """
        passage = _Passage(self, upstream, caller, scope, receive, send)
        return passage.run(path, b"") if passage.turn.body_length == 0 else passage.run_with_body(path)


def target_of(path: str, scope: Scope) -> bytes:
    """What a service is asked for: the checked path, and the query as it came."""
    query: bytes = scope["query_string"]
    return b"%b?%b" % (path.encode(), query) if query else path.encode()


class _Passage:
    def __init__(
        self, passages: Passages, upstream: Upstream, caller: Caller, scope: Scope, receive: Receive, send: Send
    ):
        self._upstream = upstream
        self._caller = caller
        self._scope = scope
        self._receive = receive
        self._send = send
        self.turn = turn_of(scope)
        self._trial = Trial(upstream, self.turn.request_id)
        self._bodies = passages.bodies
        self._seconds = passages.seconds
        self._deadline = Deadline(passages.deadlines, self.turn.task, passages.seconds)

    async def run_with_body(self, path: str) -> None:
        with self._bodies.room(self.turn.body_length, network_of(self._caller.address)):
            try:
                with self._deadline:
                    body = await whole_body(self._receive, self._bodies.limit)
            except TimeoutError as error:
                sentence = f"The body of the request did not arrive within {self._seconds:g} s."
                raise RequestTimeout(sentence, headers={"Connection": "close"}) from error
            if body is not None:
                await self.run(path, body)

    async def run(self, path: str, body: bytes) -> None:
        turn = self.turn
        if turn.is_gone:
            return
        turn.on_lost = self._deadline.end
        try:
            with self._trial:
                await self._try(path, body)
        finally:
            turn.on_lost = None

    async def _try(self, path: str, body: bytes) -> None:
        try:
            with self._deadline:
                await self._pass(path, body)
        except Broken as error:
            if not self.turn.is_gone:
                raise unreachable(self._upstream.name) from error
        except Busy as error:
            UPSTREAM_FAILURES.labels(self._upstream.name, "busy").inc()
            raise unavailable(self._upstream.name, 1) from error
        except TimeoutError as error:
            if not self.turn.is_gone:
                raise too_slow(self._upstream.name, self._seconds) from error

    async def _pass(self, path: str, body: bytes) -> None:
        scope = self._scope
        is_head = scope["method"] == "HEAD"
        method = "GET" if is_head else scope["method"]
        headers = to_service(scope["headers"])
        headers.append((b"x-request-id", self.turn.request_id.encode()))
        if self.turn.span is not None:
            headers.append(traces.to_service(self.turn.span))
        if body or method != "GET":
            headers.append((b"content-length", b"%d" % len(body)))
        connection = await self._upstream.ask(method, target_of(path, scope), headers, self._caller, body)
        try:
            await self.turn.judged()
            if not (200 <= connection.status < 300 or connection.status == 304):
                await self._pass_error(connection)
                return
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
            self._upstream.release(connection)

    async def _begin(self, connection: ServiceConnection) -> None:
        self._trial.has_begun = True
        headers = to_client(connection.headers)
        await self._send({"type": "http.response.start", "status": connection.status, "headers": headers})
        if not connection.is_ready:
            await self._send({"type": "http.response.body", "more_body": True})  # let the head go

    async def _stream_long(self, connection: ServiceConnection) -> None:
        network = network_of(self._caller.address)
        self._upstream.streams.open(network)
        try:
            await self._stream(connection)
        finally:
            self._upstream.streams.close(network)

    async def _stream(self, connection: ServiceConnection) -> None:
        """The service has the deadline for each part; the client's own time to take it is its connection's matter."""
        await self._begin(connection)
        is_last = False
        while not is_last:
            part = await connection.part()
            is_last = connection.is_read
            self._deadline.rest()
            await self._send({"type": "http.response.body", "body": part, "more_body": not is_last})
            if not is_last:
                self._deadline.move(self._seconds)

    async def _pass_error(self, connection: ServiceConnection) -> None:
        if is_identity_refusal(connection.headers):
            raise identity_refused(self._upstream.name)
        body = await read_body(connection, LARGEST_ERROR) or b""
        if connection.status < 400 or not is_contract_error(body):
            answer = replacement(self._upstream.name, connection.status)
            self._trial.is_answered = not isinstance(answer, UpstreamFailed)
            raise answer
        self._trial.is_answered = True
        await self._begin(connection)
        await self._send({"type": "http.response.body", "body": body})
