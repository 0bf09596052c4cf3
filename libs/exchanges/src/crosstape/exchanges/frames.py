"""What every dialect's raw structs are made of: bounded ids and times, and a name for each way to be wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec

from crosstape.exchanges.dialect import Frame, MalformedFrame

Notice = TypeVar("Notice")

Id = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""A trade id or sequence number, which must fit 64 bits signed."""

TextId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
"""An id sent as text: a number or a UUID."""

LongTextId = Annotated[str, msgspec.Meta(min_length=20, max_length=64)]
"""An id sent as text that is longer than any number of 64 bits, and so stays text."""

Milliseconds = Annotated[int, msgspec.Meta(ge=0, le=9_223_372_036_854)]
"""Milliseconds since the epoch whose nanoseconds fit 64 bits."""

WRONG = (msgspec.MsgspecError, ValueError, LookupError, RecursionError)
"""What decoding a hostile frame can raise: deep nesting gives RecursionError, an unknown symbol KeyError,
invalid UTF-8 UnicodeDecodeError (tried with msgspec 0.22, 2026-11)."""

_MESSAGE_LENGTH = 200


def malformed(error: Exception) -> MalformedFrame:
    """The MalformedFrame that says what `error`, one of WRONG, was about."""
    match error:
        case MalformedFrame():
            return error
        case msgspec.ValidationError():
            kind = "schema"
        case msgspec.MsgspecError() | UnicodeDecodeError():
            kind = "json"
        case RecursionError():
            kind = "depth"
        case KeyError():
            kind = "symbol"
        case _:
            kind = "value"
    return MalformedFrame(kind, str(error)[:_MESSAGE_LENGTH])


def notice_in(frame: Frame, decode: Callable[[Frame], Notice], error: MalformedFrame) -> Notice:
    """What `decode` makes of a frame that a channel's own decoder met with `error`, because it may tell of no market.

    Raises `error` where it is no such notice either, or was wrong in another way than its schema.
    """
    if error.kind != "schema":
        raise error
    try:
        return decode(frame)
    except WRONG:
        raise error from None
