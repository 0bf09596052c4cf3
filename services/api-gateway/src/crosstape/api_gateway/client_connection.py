"""A client's connection: what uvicorn's server makes for each, with bounds of size and time on everything."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Any, cast

import httptools
import structlog

from crosstape.api_gateway import traces
from crosstape.api_gateway.answer import whole_answer
from crosstape.api_gateway.arrival import Arrival, Bounds, new_request_id
from crosstape.api_gateway.guests import Guests
from crosstape.api_gateway.metrics import REFUSED, observe_request
from crosstape.api_gateway.patience import Patience
from crosstape.api_gateway.rates import Verdict
from crosstape.api_gateway.refusal import BadRequest, HeadersTooLarge, RequestTimeout, not_understood
from crosstape.api_gateway.turn import Successor, Turn
from crosstape.common.errors import PlatformError, ServiceUnavailable

log = structlog.get_logger(__name__)

_MOST_EARLY = 64 * 1024
_MOST_BETWEEN = 512 * 1024
"""Bytes between two parts of a body: more than one read of the socket brings."""
_MOST_PIPELINED = 32


class ClientConnection(asyncio.Protocol):
    """Answers one request after the other; those that come early wait. It is the `Line` of its turns.

    Refuses with the contract's error what is not HTTP in one way only, what is too large, and a head that comes too
    slowly; an answer that is under way is finished first. `untouched` is the limit that it tells of. A client that asks
    on without taking its answers is read no more: the turn stays the current one until enough of its answer has been
    taken.
    """

    def __init__(
        self,
        *,
        bounds: Bounds,
        guests: Guests,
        untouched: Verdict,
        config: Any,
        server_state: Any,
        app_state: dict[str, Any],
        _loop: Any = None,
    ):
        self._bounds = bounds
        self._guests = guests
        self._untouched = untouched
        self._network: str | None = None
        self._app = config.loaded_app
        self._server = server_state
        self._app_state = app_state
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._current: Turn | None = None
        self._arriving: Turn | None = None
        self._pipelined: deque[Turn] = deque()
        self._early: bytes | None = None
        self._is_refused = False
        self._is_ending = False
        self._is_paused = False
        self.is_full = False
        self._writable: asyncio.Future[None] | None = None
        self._between = 0
        self._head: Arrival | None = None

    # asyncio's callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._patience = Patience(self.transport, self._late)
        self._peer = transport.get_extra_info("peername")
        self._server.connections.add(self)
        try:
            if len(self._server.connections) > self._bounds.connections:
                raise ServiceUnavailable("There are too many connections. Try again shortly.")
            self._network = self._guests.enter(self._peer)
        except PlatformError as error:
            self._refuse(error, "connections")
            self.transport.close()
        self._patience.await_head(self._bounds.header_seconds)

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
                if self._head is known_head:
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
                self._refuse(not_understood(error), "malformed")
        else:
            if self._head and self._head is not known_head and self._current is None:
                self._patience.await_head(self._bounds.header_seconds)

    def eof_received(self) -> None:
        """The transport closes: a client that sends no more is taken to be gone."""

    def connection_lost(self, error: Exception | None) -> None:
        self._leave()
        self._patience.stop()
        for turn in (self._current, *self._pipelined):
            if turn:
                turn.lose()
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
        if current and not current.is_answered:
            self._patience.rest()  # not when `drain` goes on: what is due meanwhile would cut a reader who took it all
        elif current and current.is_received and not self.transport.is_closing():
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
        head = self._head
        if head is None or len(self._pipelined) >= _MOST_PIPELINED:
            raise BadRequest("There are too many requests on their way: wait for an answer.")
        self._arriving = turn = head.turn(self._parser, self, self._peer, self._app_state.copy())
        self._head = None
        if self._current is None:
            self._start(turn)
        else:
            self._pipelined.append(turn)
            self.pause()

    def on_body(self, body: bytes) -> None:
        self._between = 0
        if self._arriving:
            self._arriving.feed(body)

    def on_message_complete(self) -> None:
        turn, self._arriving = self._arriving, None
        if turn:
            turn.end()
            if turn.is_answered:
                self._next()

    # Line

    @property
    def date(self) -> bytes:
        """See `Line`; uvicorn renews it every second."""
        return b"".join([b"%b: %b\r\n" % header for header in self._server.default_headers])

    async def drain(self) -> None:
        """See `Line`. A client that takes too little of its answer in too long a time is cut."""
        if self.is_full and self._writable:
            self._patience.await_reader(self._bounds.stall_seconds)
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

    def answered(self, turn: Turn) -> None:
        """See `Line`."""
        self._count(turn)
        if turn is not self._current or self.transport.is_closing():
            return
        if turn.is_received:
            self._next()
        else:
            self.resume()
            self._patience.linger()

    def hand_over(self, turn: Turn) -> bytes:
        """See `Line`."""
        self._count(turn)
        self._is_refused = True
        self._current = None
        self._patience.stop()
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

    def _start(self, turn: Turn) -> None:
        self._current = turn
        self._patience.rest()
        if self._is_ending:
            turn.keeps_alive = False
        turn.task = self._loop.create_task(self._run(turn))
        self._server.tasks.add(turn.task)

    async def _run(self, turn: Turn) -> None:
        try:
            await self._app(turn.scope, turn.receive, turn.send)
        except Exception:
            log.exception("unhandled_error", route=turn.route, request_id=turn.request_id)
        finally:
            if not turn.is_answered:
                self._cut(turn)
            self._server.tasks.discard(turn.task)
            turn.scope.clear()  # it holds the turn: else every request would wait for the garbage collector

    def _next(self) -> None:
        if self.is_full:
            self.pause()
            self._patience.await_last()
            return
        turn, self._current = self._current, None
        if turn and not turn.keeps_alive:
            self._close()
        elif self._pipelined:
            self._start(self._pipelined.popleft())
            self.resume()
        elif self._is_refused:
            self._close()
        else:
            self.resume()
            self._patience.await_request()

    def _cut(self, turn: Turn) -> None:
        """No answer, or the rest of one, will come: the client must be able to tell."""
        turn.is_answered = True
        self._count(turn)
        if not turn.is_gone:
            self.transport.abort() if self.transport.get_write_buffer_size() else self.transport.close()

    def _count(self, turn: Turn) -> None:
        self._server.total_requests += 1
        seconds = time.perf_counter() - turn.started
        observe_request(turn.route, turn.scope["method"], turn.status, seconds)
        if turn.span is not None:
            traces.end(turn.span, turn.route, turn.scope["method"], turn.status)

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
        """Answer `error` and end the connection; or only end it, after their answers, when there are requests before
        what is refused."""
        REFUSED.labels(reason).inc()
        self._is_refused = True
        arriving, self._arriving = self._arriving, None
        if arriving is None and self._current:
            return  # its answer ends the connection
        if arriving and arriving is not self._current:
            self._pipelined.remove(arriving)
            return  # the answers before it end the connection
        if arriving and arriving.status:
            self.transport.abort()
            return
        if arriving:
            arriving.lose()
            self._current = None
        heard = arriving or self._head
        request_id = heard.request_id if heard else new_request_id()
        verdict = (arriving and arriving.verdict) or self._untouched
        self.transport.writelines(whole_answer(error, self.date, request_id, verdict))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._patience.linger()

    def _late(self) -> None:
        if self._head and self._current is None and not self._is_refused:
            seconds = f"{self._bounds.header_seconds:g}"
            self._refuse(RequestTimeout(f"The head of the request did not arrive within {seconds} s."), "slow")
            return
        if self._current and not self._current.is_answered:
            log.warning("client_stalled", route=self._current.route, request_id=self._current.request_id)
        self.transport.abort()

    def _close(self) -> None:
        """Close when all is sent, while the client goes on taking it."""
        self.transport.close()
        self._patience.await_last()
