"""Frames: WebSocket messages to events and back, in JSON or MessagePack. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec import Struct, field

from crosstape.client.books import Book, ConsolidatedBook, is_intact
from crosstape.client.errors import UnexpectedAnswer
from crosstape.client.events import (
    BarClose,
    BarRevision,
    BookEvent,
    BookStale,
    ChannelEvent,
    ConsolidatedBookEvent,
    OrderEvent,
    Refused,
    ReplayComplete,
    TradeEvent,
    Unknown,
    WrongBook,
)

T = TypeVar("T")

Frame = str | bytes
"""Text is JSON, bytes are MessagePack."""

EVERYWHERE = "*"
"""The exchange of what is consolidated."""


class Head(Struct, frozen=True):
    """What a message says about itself; which fields it has depends on its type."""

    type: str = ""
    channel: str | None = None
    asked: str | None = None
    offset: int | str | None = None
    epoch: str | None = None
    recovered: bool | None = None
    already: bool = False
    action: str = ""
    exchange: str = ""
    symbol: str = ""
    replayed_from: str | None = field(default=None, name="from")
    error_code: str = ""
    message: str = ""
    details: dict[str, Any] = {}


class _BookPlace(Struct, frozen=True):
    exchange: str
    symbol: str
    channel: str | None = None
    offset: int | None = None
    reason: str = ""


def encode(message: Mapping[str, Any], *, packed: bool) -> Frame:
    """A message of ours."""
    return msgspec.msgpack.encode(message) if packed else msgspec.json.encode(message).decode()


def decode(frame: Frame, kind: type[T]) -> T:
    """`frame` as a `kind`. Raises UnexpectedAnswer."""
    try:
        if isinstance(frame, str):
            return msgspec.json.decode(frame, type=kind)
        return msgspec.msgpack.decode(frame, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UnexpectedAnswer(f"A message of the stream is not what the contract says: {error}") from error


def event_of(kind: str, frame: Frame) -> ChannelEvent | Unknown | None:
    """The event of a message of type `kind`; None for the answer to a new token. Raises UnexpectedAnswer."""
    if kind in _EVENTS:
        return decode(frame, _EVENTS[kind])
    if kind in _READERS:
        return _READERS[kind](frame)
    if kind == "authenticated":
        return None
    return Unknown(type=kind, data=decode(frame, dict[str, Any]))


def _book(frame: Frame) -> BookEvent | ConsolidatedBookEvent | WrongBook:
    place, channel = _book_place(frame)
    if place.exchange == EVERYWHERE:
        everywhere = decode(frame, ConsolidatedBook)
        if is_intact(everywhere):
            return ConsolidatedBookEvent(channel=channel, offset=place.offset, book=everywhere)
    else:
        book = decode(frame, Book)
        if is_intact(book):
            return BookEvent(channel=channel, offset=place.offset, book=book)
    return WrongBook(channel=channel, offset=place.offset)


def _book_stale(frame: Frame) -> BookStale:
    place, channel = _book_place(frame)
    return BookStale(channel=channel, exchange=place.exchange, symbol=place.symbol, reason=place.reason)


def _book_place(frame: Frame) -> tuple[_BookPlace, str]:
    """What a message about a book says of it, and its channel: /ws names none, but it would be this one."""
    place = decode(frame, _BookPlace)
    return place, place.channel or f"book:{place.exchange}:{place.symbol}"


def refusal(head: Head) -> Refused:
    """The event of an error message."""
    return Refused(error_code=head.error_code, message=head.message, channel=head.channel, details=head.details)


_READERS: dict[str, Callable[[Frame], ChannelEvent]] = {"book": _book, "book_stale": _book_stale}
_EVENTS: dict[str, type[TradeEvent | BarClose | BarRevision | OrderEvent | ReplayComplete]] = {
    "trade": TradeEvent,
    "bar_close": BarClose,
    "bar_revision": BarRevision,
    "order": OrderEvent,
    "replay_complete": ReplayComplete,
}
