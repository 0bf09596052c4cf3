"""What is said on every socket, whatever its route: closing codes, errors, and how a client's message is read."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import msgspec

from crosstape.common.errors import (
    LONGEST_ECHO,
    Forbidden,
    PlatformError,
    RateLimited,
    Unauthenticated,
    ValidationFailed,
)
from crosstape.common.web.errors import encodable
from crosstape.stream_hub.encoding import Build

MOST_MESSAGE_BYTES = 64 * 1024


class CloseCode(enum.IntEnum):
    """Why the hub closes a socket. Those of 4400 and more are the contract's."""

    PROTOCOL_ERROR = 1002
    INVALID = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    RESTART = 1012
    TRY_AGAIN = 1013
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    UNKNOWN_SYMBOL = 4404
    TOO_SLOW = 4408
    TOO_MANY = 4429


class Closing(Exception):
    """The socket is to be closed with `code`; the client is told `error` before."""

    def __init__(self, code: CloseCode, error: PlatformError):
        super().__init__(error.message)
        self.code = code
        self.error = error


class TooMany(RateLimited):
    """A limit of sockets, channels or messages is reached."""

    def __init__(self, message: str):
        super().__init__(message, retry_after=1)


def closing(error: PlatformError) -> Closing:
    """How a socket ends that cannot go on without what `error` refuses."""
    codes: dict[type[PlatformError], CloseCode] = {
        Unauthenticated: CloseCode.UNAUTHENTICATED,
        Forbidden: CloseCode.FORBIDDEN,
        RateLimited: CloseCode.TOO_MANY,
    }
    for kind, code in codes.items():
        if isinstance(error, kind):
            return Closing(code, error)
    statuses = {404: CloseCode.UNKNOWN_SYMBOL, 422: CloseCode.INVALID, 503: CloseCode.TRY_AGAIN}
    return Closing(statuses.get(error.status, CloseCode.INTERNAL_ERROR), error)


def error_message(error: PlatformError, concerns: Mapping[str, Any] | None = None) -> Build:
    """`{"type":"error","error_code","message"}`, with what it concerns."""
    body = {"type": "error", "error_code": error.error_code, "message": encodable(error.message)}
    details = {"details": error.details} if error.details else {}
    message = {**body, **details, **(concerns or {})}
    return lambda notation: message


def _no_extension(code: int, data: memoryview) -> None:
    raise ValueError("an extension type, which no message of ours has")


_unpack = msgspec.msgpack.Decoder(ext_hook=_no_extension).decode


def read_message(payload: bytes, *, is_packed: bool) -> dict[str, Any]:
    """A client's message. Raises ValidationFailed for anything but an object."""
    try:
        message = _unpack(payload) if is_packed else msgspec.json.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
        form = "MessagePack" if is_packed else "JSON"
        raise ValidationFailed(f"The message is not {form}.") from error
    if not isinstance(message, dict):
        raise ValidationFailed('The message must be an object such as {"action":"ping"}.')
    return message


def text_of(message: Mapping[str, Any], name: str) -> str:
    """A field that must be text. Raises ValidationFailed."""
    value = message.get(name)
    if not isinstance(value, str) or not value:
        raise ValidationFailed(f"{name} must be text.", {"parameter": name})
    return value


def whole_of(message: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    """A field that must be a whole number in a range. Raises ValidationFailed."""
    value = message.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise ValidationFailed(f"{name} must be a whole number from {least} to {most}.", {"parameter": name})
    return value


def unknown_action(message: Mapping[str, Any], known: str) -> ValidationFailed:
    """The answer to an action that there is not."""
    action = str(message.get("action"))[:LONGEST_ECHO]
    return ValidationFailed(f"Unknown action {action}. There are: {known}.", {"parameter": "action"})
