"""A client's connection: what uvicorn's server makes for each, with bounds of size and time on everything."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, cast

import httptools
import structlog

from crosstape.api_gateway import traces
from crosstape.api_gateway.address import Guests
from crosstape.api_gateway.answer import answer_head
from crosstape.api_gateway.arrival import Arrival, Bounds, new_request_id
from crosstape.api_gateway.exchange import Exchange, Successor
from crosstape.api_gateway.metrics import REFUSED, observe_request
from crosstape.api_gateway.refusal import BadRequest, HeadersTooLarge, RequestTimeout
from crosstape.api_gateway.watchdog import Watchdog
from crosstape.common.errors import PlatformError, ServiceUnavailable
from crosstape.common.web.errors import error_body

log = structlog.get_logger(__name__)

KEEP_ALIVE_SECONDS = 30.0
LINGER_SECONDS = 2.0
"""How long what a client still sends is read and dropped after its answer, so that it can read the answer."""
_MOST_EARLY = 64 * 1024
_MOST_BETWEEN = 512 * 1024
"""Bytes between two parts of a body: more than one read of the socket brings."""
_MOST_PIPELINED = 32
_LEAST_TAKEN = 16 * 1024
"""Bytes that a client takes of what waits for it, while it is waited for, or it is cut."""


class ClientConnection(asyncio.Protocol):
    """Answers one request after the other; those that come early wait. It is the `Line` of its exchanges.

    Refuses with the contract's error what is not HTTP in one way only, what is too large, and a head that comes too
    slowly; an answer that is under way is finished first. A client that asks on without taking its answers is read no
    more: the exchange stays the current one until enough of its answer has been taken.
    """

    def __init__(
        self,
        *,
        bounds: Bounds,
        guests: Guests,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: Any = None,
    ):
        self._bounds = bounds
        self._guests = guests
        self._network: str | None = None
        self._app = config.loaded_app
        self._server = server_state
        self._app_state = app_state
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._current: Exchange | None = None
        self._arriving: Exchange | None = None
        self._pipelined: deque[Exchange] = deque()
        self._early: bytes | None = None
        self._is_refused = False
        self._is_ending = False
        self._is_paused = False
        self.is_full = False
        self._writable: asyncio.Future[None] | None = None
        self._between = 0
        self._unsent = 0
        self._watchdog = Watchdog(self._bite)
        self._head: Arrival | None = None

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._peer = transport.get_extra_info("peername")
        self._server.connections.add(self)
        try:
            if len(self._server.connections) > self._bounds.connections:
                raise ServiceUnavailable("There are too many connections. Try again shortly.")
            self._network = self._guests.enter(self._peer)
        except PlatformError as error:
            self._refuse(error, "connections")
            self.transport.close()
        self._watchdog.wait(self._bounds.header_seconds)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._early is not None:
            self._keep_early(data)
            return
        known_head = self._head
        try:
            self._parser.feed_data(data)
            if self._head:
                self._head.goes_on(len(data))
            elif self._arriving:
                self._body_goes_on(len(data))
        except httptools.HttpParserUpgrade as upgrade:
            self._early = b""
            self.pause()
            self._keep_early(data[upgrade.args[0] :])
        except (httptools.HttpParserError, HeadersTooLarge) as error:
            foreseen = error if isinstance(error, PlatformError) else error.__context__
            if isinstance(foreseen, PlatformError):
                self._refuse(foreseen, "bounds")
            else:
                self._refuse(BadRequest("This is not an HTTP request that can be understood in one way."), "malformed")
        else:
            if self._head and self._head is not known_head and self._current is None:
                self._watchdog.wait(self._bounds.header_seconds)

    def eof_received(self) -> None:
        """The transport closes: a client that sends no more is taken to be gone."""

    def connection_lost(self, error: Exception | None) -> None:
        self._leave()
        self._watchdog.stop()
        for exchange in (self._current, *self._pipelined):
            if exchange:
                exchange.lose()
        self._pipelined.clear()
        self.resume_writing()

    def pause_writing(self) -> None:
        self.is_full = True
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        self.is_full = False
        if self._writable and not self._writable.done():
            self._writable.set_result(None)
        current = self._current
        if current and current.is_answered and current.is_received and not self.transport.is_closing():
            self._next()

    # httptools' callbacks

    def on_message_begin(self) -> None:
        self._head = Arrival(self._bounds)

    def on_url(self, url: bytes) -> None:
        if self._head:
            self._head.add_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head:  # else a trailer: nobody may add to the headers of a request that is under way
            self._head.add_header(name, value)

    def on_headers_complete(self) -> None:
        head, self._head = self._head, None
        if head is None or len(self._pipelined) >= _MOST_PIPELINED:
            raise BadRequest("There are too many requests on their way: wait for an answer.")
        self._arriving = exchange = head.exchange(self._parser, self, self._peer, self._app_state.copy())
        if self._current is None:
            self._start(exchange)
        else:
            self._pipelined.append(exchange)
            self.pause()

    def on_body(self, body: bytes) -> None:
        self._between = 0
        if self._arriving:
            self._arriving.feed(body)

    def on_message_complete(self) -> None:
        exchange, self._arriving = self._arriving, None
        if exchange:
            exchange.end()
            if exchange.is_answered:
                self._next()

    # Line

    @property
    def date(self) -> bytes:
        """See `Line`; uvicorn renews it every second."""
        return b"".join([b"%b: %b\r\n" % header for header in self._server.default_headers])

    async def drain(self) -> None:
        """See `Line`."""
        if self._writable:
            await self._writable

    def pause(self) -> None:
        """See `Line`."""
        if not self._is_paused and not self.transport.is_closing():
            self._is_paused = True
            self.transport.pause_reading()

    def resume(self) -> None:
        """See `Line`; while requests wait in line, no more of them are read."""
        if self._is_paused and not self._pipelined and self._early is None and not self.transport.is_closing():
            self._is_paused = False
            self.transport.resume_reading()

    def answered(self, exchange: Exchange) -> None:
        """See `Line`."""
        self._count(exchange)
        if exchange is not self._current or self.transport.is_closing():
            return
        if exchange.is_received:
            self._next()
        else:
            self._linger()

    def hand_over(self, exchange: Exchange) -> bytes:
        """See `Line`."""
        self._count(exchange)
        self._is_refused = True
        self._current = None
        self._watchdog.stop()
        self._leave()
        return self._early or b""

    def adopt(self, successor: Successor) -> None:
        """See `Line`."""
        self._server.connections.add(successor)

    def disown(self, successor: Successor) -> None:
        """See `Line`."""
        self._server.connections.discard(successor)

    # what uvicorn's server calls

    def shutdown(self) -> None:
        """The server wants to end: the answer that is under way is the last one."""
        self._is_ending = True
        if self._current is None or self._current.is_answered:
            self._close()
        else:
            self._current.keeps_alive = False

    # one request after the other

    def _start(self, exchange: Exchange) -> None:
        self._current = exchange
        self._watchdog.rest()
        if self._is_ending:
            exchange.keeps_alive = False
        exchange.task = self._loop.create_task(self._run(exchange))
        self._server.tasks.add(exchange.task)

    async def _run(self, exchange: Exchange) -> None:
        try:
            await self._app(exchange.scope, exchange.receive, exchange.send)
        except Exception:
            log.exception("unhandled_error", route=exchange.route, request_id=exchange.request_id)
        finally:
            if not exchange.is_answered:
                self._cut(exchange)
            self._server.tasks.discard(exchange.task)
            exchange.scope.clear()  # it holds the exchange: else every request would wait for the garbage collector

    def _next(self) -> None:
        if self.is_full:
            self.pause()
            self._await_reader(KEEP_ALIVE_SECONDS)
            return
        exchange, self._current = self._current, None
        if self._is_refused or (exchange and not exchange.keeps_alive):
            self._close()
        elif self._pipelined:
            self._start(self._pipelined.popleft())
            self.resume()
        else:
            self.resume()
            self._await_reader(KEEP_ALIVE_SECONDS)

    def _await_reader(self, seconds: float) -> None:
        """Nothing is waited for but what the client does, first of all that it reads."""
        self._unsent = self.transport.get_write_buffer_size()
        self._watchdog.wait(seconds)

    def _linger(self) -> None:
        """The answer is out, the request still comes."""
        self.resume()
        self._await_reader(LINGER_SECONDS)

    def _cut(self, exchange: Exchange) -> None:
        """No answer, or the rest of one, will come: the client must be able to tell."""
        exchange.is_answered = True
        self._count(exchange)
        if not exchange.is_gone:
            self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()

    def _count(self, exchange: Exchange) -> None:
        self._server.total_requests += 1
        seconds = time.perf_counter() - exchange.started
        observe_request(exchange.route, exchange.scope["method"], exchange.status, seconds)
        if exchange.span is not None:
            traces.end(exchange.span, exchange.route, exchange.scope["method"], exchange.status)

    # the end

    def _leave(self) -> None:
        self._server.connections.discard(self)
        network, self._network = self._network, None
        self._guests.leave(network)

    def _body_goes_on(self, count: int) -> None:
        """A trailer that never ends is no body, and would be kept until it does."""
        self._between += count
        if self._between > _MOST_BETWEEN:
            raise HeadersTooLarge("What comes with the body is too large.")

    def _keep_early(self, data: bytes) -> None:
        self._early = (self._early or b"") + data
        if len(self._early) > _MOST_EARLY:
            self.transport.abort()

    def _refuse(self, error: PlatformError, reason: str) -> None:
        """Answer `error` and end the connection; a request that is complete is answered first."""
        REFUSED.labels(reason).inc()
        self._is_refused = True
        arriving, self._arriving = self._arriving, None
        if arriving is None and self._current:
            return  # its answer ends the connection
        if arriving and arriving is not self._current:
            self._pipelined.clear()
            return  # the answer before it ends the connection
        if arriving and arriving.status:
            self.transport.abort()
            return
        if arriving:
            arriving.lose()
            self._current = None
        self._say_last(error)

    def _say_last(self, error: PlatformError) -> None:
        body = error_body(error)
        headers = [(name.lower().encode(), value.encode()) for name, value in error.headers.items()]
        headers += [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        head = answer_head(error.status, headers, self.date, new_request_id(), 0.0)
        self.transport.writelines([*head.lines, b"connection: close\r\n\r\n", body])
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._await_reader(LINGER_SECONDS)

    def _bite(self) -> None:
        """What was waited for did not come."""
        if self._head and self._current is None and not self._is_refused:
            seconds = f"{self._bounds.header_seconds:g}"
            self._refuse(RequestTimeout(f"The head of the request did not arrive within {seconds} s."), "slow")
        elif 0 < self.transport.get_write_buffer_size() <= self._unsent - _LEAST_TAKEN:
            self._await_reader(KEEP_ALIVE_SECONDS)  # a slow reader, but one who reads
        else:
            self.transport.abort()

    def _close(self) -> None:
        """Close when all is sent, while the client goes on taking it."""
        self.transport.close()
        self._await_reader(KEEP_ALIVE_SECONDS)
