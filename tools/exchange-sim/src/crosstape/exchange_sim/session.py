"""One client's socket, seen from the exchange: what is sent to it, through the faults."""

import asyncio
import re
from struct import pack

from crosstape.exchange_sim.channel_key import ChannelKey
from crosstape.exchange_sim.faults import DELAY_NS, Faults, corrupted

SLOW_CLIENT_BYTES = 32 << 20
DRAIN_BYTES = 1 << 18
DRAIN_POLL_S = 0.002


def text_frame(payload: bytes) -> bytes:
    """An unmasked WebSocket text frame (RFC 6455, 5.2)."""
    size = len(payload)
    if size < 126:
        return pack("!BB", 0x81, size) + payload
    if size < 1 << 16:
        return pack("!BBH", 0x81, 126, size) + payload
    return pack("!BBQ", 0x81, 127, size) + payload


class Session:
    """`path` and `wrapped` are what the client asked for when it connected, `subscriptions` its channels by
    the name it gave them; `spoil_pattern` finds the number in a
    frame that the `checksum` fault falsifies. Frames wait in the outbox until `flush` writes them in one
    piece.
    """

    def __init__(
        self, transport: asyncio.Transport, faults: Faults, address: str, path: str,
        spoil_pattern: re.Pattern[bytes],
    ) -> None:  # fmt: skip
        self.transport = transport
        self.faults = faults
        self.address = address
        self.path = path
        self.spoil_pattern = spoil_pattern
        self.wrapped = False
        self.subscriptions: dict[str, ChannelKey] = {}
        self.random = faults.connection(address)
        self.is_stalled = False
        self._is_delayed = False
        self._held_until_ns = 0
        self._swapped: bytes | None = None
        self._outbox: list[bytes] = []

    def reply(self, payload: bytes) -> None:
        """An answer to the client itself: no fault but silence touches it."""
        if not self.is_stalled:
            self._outbox.append(text_frame(payload))

    def deliver(self, payload: bytes, frame: bytes) -> None:
        """Market data; `frame` is `payload` already framed, shared by all its subscribers."""
        if self.is_stalled:
            return
        fault = self.faults.frame_fault(self.random)
        if fault is None:
            self._put(frame)
            return
        if fault == "checksum":
            frame = text_frame(spoiled := spoil(payload, self.spoil_pattern))
            if spoiled == payload:
                self._put(frame)
                return
        elif fault == "corrupt":
            frame = text_frame(corrupted(payload, self.random))
        elif fault == "reorder":
            if self._swapped is not None:
                self._put(frame)
            else:
                self._swapped = frame
            return
        self.faults.injected[fault] += 1
        if fault == "drop":
            self.transport.abort()
        elif fault == "stall":
            self.is_stalled = True
        elif fault != "skip":
            self._put(frame)
            if fault == "duplicate":
                self._put(frame)
            if fault == "delay":
                self._is_delayed = True

    def _put(self, frame: bytes) -> None:
        self._outbox.append(frame)
        if self._swapped is not None:
            self._outbox.append(self._swapped)
            self._swapped = None
            self.faults.injected["reorder"] += 1

    def flush(self, now_ns: int) -> None:
        """Writes what waits, unless a delay holds it: a hold ends in its time, whatever is delayed meanwhile.

        A client that has let 32 MB pile up is cut off, as real exchanges do.
        """
        if self._held_until_ns and now_ns >= self._held_until_ns:
            self._held_until_ns, self._is_delayed = 0, False
        elif self._is_delayed and not self._held_until_ns:
            self._held_until_ns, self._is_delayed = now_ns + DELAY_NS, False
        if not self._outbox or self._held_until_ns or self.transport.is_closing():
            return
        self.transport.write(b"".join(self._outbox))
        self._outbox.clear()
        if self.transport.get_write_buffer_size() > SLOW_CLIENT_BYTES:
            self.transport.abort()

    async def drain(self) -> None:
        """Waits until the client has read most of what was written (a replay never drops)."""
        while not self.transport.is_closing() and self.transport.get_write_buffer_size() > DRAIN_BYTES:
            await asyncio.sleep(DRAIN_POLL_S)


def spoil(payload: bytes, pattern: re.Pattern[bytes]) -> bytes:
    """The payload with the first number `pattern` captures made wrong by seven; unchanged where there is
    none."""
    match = pattern.search(payload)
    if match is None:
        return payload
    start, end = match.span(1)
    return payload[:start] + b"%d" % (int(match[1]) + 7) + payload[end:]
