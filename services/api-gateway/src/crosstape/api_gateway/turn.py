"""One request of a client and its answer: ASGI's `receive` and `send`, and what the edge notes of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, cast

from opentelemetry.trace import Span
from starlette.types import Message, Scope

from crosstape.api_gateway.answer import Head, answer_head, limit_lines
from crosstape.api_gateway.headers import Header, Heeded
from crosstape.api_gateway.rates import Verdict

EXTENSION = "crosstape.turn"
_WITHOUT_BODY = frozenset({204, 304})
_MOST_WAITING = 64 * 1024
"""Bytes of a request's body that wait for the application before the client is no longer read."""


Judgement = Callable[[], Awaitable[None]]
"""Leaves a limit's verdict in the turn when it is there. Raises RateLimited."""


class Successor(Protocol):
    """What a connection becomes that no longer speaks HTTP."""

    def shutdown(self) -> None:
        """The server wants to end."""
        ...


class Line(Protocol):
    """The connection under a turn."""

    transport: asyncio.Transport
    is_full: bool
    """Whether the client takes less than is written."""

    @property
    def date(self) -> bytes:
        """The Date header's line."""
        ...

    async def drain(self) -> None:
        """Returns when the client has taken enough of what was written, or is gone."""
        ...

    def pause(self) -> None:
        """Read no more of the request."""
        ...

    def resume(self) -> None:
        """Read on."""
        ...

    def answered(self, turn: Turn) -> None:
        """The answer is complete."""
        ...

    def hand_over(self, turn: Turn) -> bytes:
        """HTTP ends here and reading is paused; what came after the request's head."""
        ...

    def adopt(self, successor: Successor) -> None:
        """Tell it when the server shuts down, and count it as a connection until `disown`."""
        ...

    def disown(self, successor: Successor) -> None:
        """It is over."""
        ...


class Turn:
    """One request and its answer.

    `status` is 0 until the answer begins; `route` is the pattern, for metrics; `verdict` is the limit's, if one
    applied; `span` is there when the request is traced. `body_length` is that of the request, None when it was not
    told; `heeded` are those of its headers that the edge goes by. `on_lost` is called when the client leaves before the
    answer's end.

    The head of an answer leaves with the first part of its body: send an empty part to have it leave alone.
    """

    def __init__(
        self,
        line: Line,
        scope: Scope,
        request_id: str,
        *,
        heeded: Heeded,
        body_length: int | None,
        keeps_alive: bool,
        expects_continue: bool,
    ):
        self.line = line
        self.scope = scope
        self.request_id = request_id
        self.route = "unknown"
        self.status = 0
        self.verdict: Verdict | None = None
        self._judgement: Judgement | None = None
        self.span: Span | None = None
        self.wants_socket = False
        self.heeded = heeded
        self.body_length = body_length
        self.keeps_alive = keeps_alive
        self.is_received = False
        self.is_answered = False
        self.is_gone = False
        self.on_lost: Callable[[], None] | None = None
        self.task: asyncio.Task[None]
        self.started = time.perf_counter()
        self._expects_continue = expects_continue
        self._body = bytearray()  # a list of parts of a byte each would take many times as much
        self._is_delivered = False
        self._waiter: asyncio.Future[None] | None = None
        self._head: Head | None = None
        self._is_chunked = False
        self._left: int | None = None

    # the connection's side

    def feed(self, data: bytes) -> None:
        """A part of the request's body; dropped when the answer is out already."""
        if self.is_answered:
            return
        self._body += data
        if len(self._body) > _MOST_WAITING:
            self.line.pause()
        self._wake()

    def end(self) -> None:
        """The request is complete."""
        self.is_received = True
        self._wake()

    def lose(self) -> None:
        """The client is gone: what is sent from now on is dropped."""
        self.is_gone = True
        self._wake()
        if self.on_lost and not self.is_answered:
            self.on_lost()

    # the application's side

    def judge(self, judgement: Judgement) -> None:
        """What `judged` waits for."""
        self._judgement = judgement

    async def judged(self) -> None:
        """Return once the limit let the request pass, if one applies. Raises RateLimited."""
        judgement, self._judgement = self._judgement, None
        if judgement:
            await judgement()

    async def receive(self) -> Message:
        """The next part of the body; at its end waits until the client leaves or the answer is complete."""
        if self._expects_continue:
            self._expects_continue = False
            if not self.status:
                self.line.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while not (self.is_gone or self.is_answered):
            if self._body or (self.is_received and not self._is_delivered):
                body, self._body = bytes(self._body), bytearray()
                self._is_delivered = self.is_received
                self.line.resume()
                return {"type": "http.request", "body": body, "more_body": not self.is_received}
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Begin the answer, or send a part of its body. Raises RuntimeError and ValueError for what is no answer."""
        if message["type"] == "http.response.start":
            if self.status:
                raise RuntimeError("an answer began twice")
            self._head = self._made_head(message["status"], message.get("headers", ()))
            self.status = message["status"]
            return
        if not self.status or self.is_answered:
            raise RuntimeError("a part of a body without its answer")
        body: bytes = message.get("body", b"")
        more: bool = message.get("more_body", False)
        lines: list[bytes] = []
        if self._head:
            lines = self._begun(self._head, body, more=more)
            self._head = None
        if body and not self._is_bodiless:
            self._add(lines, body)
        if not more and self._is_chunked:
            lines.append(b"0\r\n\r\n")
        if not self.is_gone:
            self.line.transport.writelines(lines)
        if more:
            if self.line.is_full:
                await self.line.drain()
            return
        if self._left:
            raise RuntimeError("an answer is shorter than it said")
        self.is_answered = True
        self._wake()
        self.line.answered(self)

    def switch(self, headers: Iterable[Header]) -> tuple[asyncio.Transport, bytes]:
        """Answer that the connection is a WebSocket now: its transport, not being read, and what came early."""
        head = self._made_head(101, headers)
        self.status = 101
        self.is_answered = True
        early = self.line.hand_over(self)
        limits = limit_lines(self.verdict) if self.verdict else b""
        self.line.transport.writelines([*head.lines, limits, b"connection: Upgrade\r\nupgrade: websocket\r\n\r\n"])
        return self.line.transport, early

    # the rest

    @property
    def _is_bodiless(self) -> bool:
        return self.scope["method"] == "HEAD" or self.status in _WITHOUT_BODY

    def _made_head(self, status: int, headers: Iterable[Header]) -> Head:
        return answer_head(status, headers, self.line.date, self.request_id, time.perf_counter() - self.started)

    def _begun(self, head: Head, body: bytes, *, more: bool) -> list[bytes]:
        lines = head.lines
        if head.length is not None:
            self._left = None if self._is_bodiless else head.length
        elif not self._is_bodiless:
            if not more:
                lines.append(b"content-length: %d\r\n" % len(body))
            elif self.scope["http_version"] == "1.0":
                self.keeps_alive = False  # it knows no chunks: the body ends with the connection
            else:
                self._is_chunked = True
                lines.append(b"transfer-encoding: chunked\r\n")
        if self.verdict:
            lines.append(limit_lines(self.verdict))
        if head.closes or (self._expects_continue and not self.is_received):
            self.keeps_alive = False  # in the latter case nobody knows whether the body will come
        lines.append(b"\r\n" if self.keeps_alive else b"connection: close\r\n\r\n")
        return lines

    def _add(self, lines: list[bytes], body: bytes) -> None:
        if self._is_chunked:
            lines += (b"%x\r\n" % len(body), body, b"\r\n")
            return
        if self._left is not None:
            self._left -= len(body)
            if self._left < 0:
                raise RuntimeError("an answer is longer than it said")
        lines.append(body)

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)


def turn_of(scope: Scope) -> Turn:
    """The turn that an ASGI scope belongs to."""
    return cast(Turn, scope["extensions"][EXTENSION])
