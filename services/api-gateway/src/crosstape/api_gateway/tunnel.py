"""A WebSocket through the gateway: after the handshake the bytes of both ends, unread, with each end's own pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

BUFFER = 64 * 1024
"""Bytes that wait for one end before the other is no longer read."""


class Tunnel:
    """Joins two connections. What one end closes or loses, the other is told once it has taken what was on its way.

    An end that takes nothing for `stall_seconds` is cut. `on_end` is called once.
    """

    def __init__(self, stall_seconds: float, on_end: Callable[[Tunnel], None]):
        self._ends: tuple[_End, _End] = _End(stall_seconds, self._end), _End(stall_seconds, self._end)
        self._on_end = on_end
        self._is_over = False

    def join(self, client: asyncio.Transport, service: asyncio.Transport, early: tuple[bytes, bytes]) -> None:
        """Start; neither is being read yet. `early`: what came from the client, and from the service, already."""
        ends = self._ends
        ends[0].take(client, ends[1])
        ends[1].take(service, ends[0])
        service.write(early[0])
        client.write(early[1])
        for end in ends:
            end.read_on()

    def shutdown(self) -> None:
        """The gateway ends: close both ends, without a closing frame, as nobody here knows where a frame of the
        service's ends."""
        for end in self._ends:
            end.close()

    def _end(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._on_end(self)


class _End(asyncio.Protocol):
    def __init__(self, stall_seconds: float, on_end: Callable[[], None]):
        self._loop = asyncio.get_running_loop()
        self._stall_seconds = stall_seconds
        self._on_end = on_end
        self._timer: asyncio.TimerHandle | None = None
        self._is_closing = False

    def take(self, transport: asyncio.Transport, other: _End) -> None:
        self._transport = transport
        self._other = other
        self._is_lost = transport.is_closing()
        transport.set_protocol(self)
        transport.set_write_buffer_limits(BUFFER)

    def read_on(self) -> None:
        """The other end has room again."""
        if self._is_lost or self._transport.is_closing():
            self._other.close()
        else:
            self._transport.resume_reading()

    def read_no_more(self) -> None:
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def close(self) -> None:
        """Close when all is sent, in `stall_seconds` at the latest."""
        if not self._is_lost:
            self._is_closing = True
            self._transport.close()
            self._cut_later()

    def data_received(self, data: bytes) -> None:
        if not self._other._is_lost:
            self._other._transport.write(data)

    def pause_writing(self) -> None:
        self._other.read_no_more()
        self._cut_later()

    def resume_writing(self) -> None:
        if not self._is_closing:
            self._cancel_cut()
            self._other.read_on()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_lost = True
        self._cancel_cut()
        self._other.close()
        self._on_end()

    def _cut_later(self) -> None:
        if self._timer is None:
            self._timer = self._loop.call_later(self._stall_seconds, self._transport.abort)

    def _cancel_cut(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
