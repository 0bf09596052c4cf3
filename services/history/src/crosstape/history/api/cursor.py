"""Cursors: where the next page starts, as opaque text. A page starts at its key, so page N costs what page 1 costs."""

from __future__ import annotations

import base64
import binascii

import msgspec
from msgspec import Struct

from crosstape.common.errors import ValidationFailed
from crosstape.history.api.parameters import LATEST_SECOND


class BarCursor(Struct, frozen=True, array_like=True, tag="b", forbid_unknown_fields=True):
    """The next page's first open time (Unix s)."""

    open_time: int


class TradeCursor(Struct, frozen=True, array_like=True, tag="t", forbid_unknown_fields=True):
    """The next page's first place in the tape: everything of the key from (`seq`, `uid`) on."""

    seq: int
    uid: str


_Key = BarCursor | TradeCursor
_decoder: msgspec.msgpack.Decoder[BarCursor | TradeCursor] = msgspec.msgpack.Decoder(_Key)


def encode_cursor(key: _Key) -> str:
    """`key` as text for a URL."""
    return base64.urlsafe_b64encode(msgspec.msgpack.encode(key)).decode().rstrip("=")


def bar_cursor(text: str) -> BarCursor:
    """The cursor of a bars page. Raises ValidationFailed for anything that no page returned."""
    key = _decode(text)
    if not isinstance(key, BarCursor) or not 0 <= key.open_time <= LATEST_SECOND:
        raise _invalid()
    return key


def trade_cursor(text: str) -> TradeCursor:
    """The cursor of a trades page. Raises ValidationFailed for anything that no page returned."""
    key = _decode(text)
    if not isinstance(key, TradeCursor) or not 0 <= key.seq < 1 << 64 or len(key.uid) > 129:
        raise _invalid()
    return key


def _decode(text: str) -> _Key:
    try:
        key = _decoder.decode(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, msgspec.DecodeError) as error:
        raise _invalid() from error
    if encode_cursor(key) != text:
        raise _invalid()
    return key


def _invalid() -> ValidationFailed:
    return ValidationFailed("cursor must be the next_cursor of the page before.", {"parameter": "cursor"})
