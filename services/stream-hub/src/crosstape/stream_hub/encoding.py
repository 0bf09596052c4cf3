"""Encodings: a message as a client wants it, JSON or MessagePack, and the WebSocket frame around it.

A message is built by a function of the notation, so that it is made once for every encoding that somebody wants.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from msgspec import Struct

from crosstape.stream_hub.numbers import seconds_text

TEXT, BINARY = 0x1, 0x2
PING_FRAME = b"\x89\x00"

WORTH_DEFLATING = 512
"""Bytes from which a message that shares no window with others shrinks by more than its deflating costs."""
DEFLATE_LEVEL = 3
_SYNC = b"\x00\x00\xff\xff"


class Notation(Struct, frozen=True):
    """How numbers are written: `number` takes decimal text, `seconds` nanoseconds."""

    number: Callable[[str], Any]
    seconds: Callable[[int], Any]


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


NUMBERS = Notation(_raw, lambda nanoseconds: _raw(seconds_text(nanoseconds)))
"""JSON numbers with the exact text."""
STRINGS = Notation(str, lambda nanoseconds: _raw(seconds_text(nanoseconds)))
"""JSON with prices and volumes as strings."""
NOTATIONS = {"number": NUMBERS, "string": STRINGS}
"""What `?numbers=` may say."""
PACKED = Notation(str, lambda nanoseconds: float(seconds_text(nanoseconds)))
"""MessagePack, which has no decimals: prices and volumes are strings."""

Message = Mapping[str, Any]
Build = Callable[[Notation], Message]

_json = msgspec.json.Encoder()
_msgpack = msgspec.msgpack.Encoder()


class Encoding(NamedTuple):
    """What one client asked for."""

    notation: Notation = NUMBERS
    is_deflated: bool = False

    @property
    def is_packed(self) -> bool:
        return self.notation is PACKED

    def frame(self, build: Build) -> bytes:
        """The message as a whole WebSocket frame."""
        message = build(self.notation)
        if self.is_packed:
            return self._frame(BINARY, _msgpack.encode(message))
        return self._frame(TEXT, _json.encode(message))

    def _frame(self, opcode: int, payload: bytes) -> bytes:
        if self.is_deflated and len(payload) >= WORTH_DEFLATING:
            return frame(opcode | 0x40, deflate(payload))
        return frame(opcode, payload)


def frame(opcode: int, payload: bytes) -> bytes:
    """An unfragmented server frame; the opcode may carry RSV1 (0x40)."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, size))
    elif size < 1 << 16:
        head = bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big")
    return head + payload


def deflate(payload: bytes) -> bytes:
    """The payload as permessage-deflate without context takeover (RFC 7692, 7.2.1): the same bytes for everybody."""
    compressor = zlib.compressobj(DEFLATE_LEVEL, zlib.DEFLATED, -15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)).removesuffix(_SYNC)


def inflate(payload: bytes, most: int) -> bytes:
    """What a client deflated without context takeover. Raises ValueError for what is not that, and OverflowError for
    more than `most` bytes."""
    inflater = zlib.decompressobj(-15)
    try:
        inflated = inflater.decompress(payload + _SYNC, most)
    except zlib.error as error:
        raise ValueError("not deflated") from error
    if inflater.unconsumed_tail:
        raise OverflowError
    return inflated
