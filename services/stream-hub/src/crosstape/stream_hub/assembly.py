"""Assembly: a client's frames to its messages, fragments joined and inflated, none larger than allowed. Pure."""

from __future__ import annotations

from typing import NamedTuple

from crosstape.common.errors import ValidationFailed
from crosstape.stream_hub.encoding import inflate
from crosstape.stream_hub.protocol import MOST_MESSAGE_BYTES, CloseCode, Closing


class Received(NamedTuple):
    """A whole message; `is_packed`: it came as binary, which is MessagePack."""

    payload: bytes
    is_packed: bool


class Assembly:
    """The message that one client is sending. `can_inflate`: deflated messages were agreed."""

    def __init__(self, *, can_inflate: bool):
        self._can_inflate = can_inflate
        self._parts: bytearray | None = None
        self._is_packed = self._is_deflated = False

    def begin(self, payload: bytes, *, is_packed: bool, is_deflated: bool, is_last: bool) -> Received | None:
        """The first frame of a message; the message, if it is the only one. Raises Closing."""
        if self._parts is not None:
            raise _broken("A message began inside another.")
        self._is_packed, self._is_deflated = is_packed, is_deflated
        if is_last:
            return self._whole(payload)
        self._parts = bytearray(payload)
        return None

    def go_on(self, payload: bytes, *, is_last: bool) -> Received | None:
        """A further frame of it; the message, if it was the last. Raises Closing."""
        if self._parts is None:
            raise _broken("A message went on without having begun.")
        self._parts += payload
        if len(self._parts) > MOST_MESSAGE_BYTES:
            raise _too_big()
        if not is_last:
            return None
        parts, self._parts = self._parts, None
        return self._whole(bytes(parts))

    def _whole(self, payload: bytes) -> Received:
        if self._is_deflated:
            if not self._can_inflate:
                raise _broken("Deflate was not agreed.")
            try:
                payload = inflate(payload, MOST_MESSAGE_BYTES)
            except OverflowError as error:
                raise _too_big() from error
            except ValueError as error:
                raise _broken(f"The message cannot be inflated: {error}.") from error
        return Received(payload, self._is_packed)


def _broken(message: str) -> Closing:
    return Closing(CloseCode.PROTOCOL_ERROR, ValidationFailed(message))


def _too_big() -> Closing:
    return Closing(CloseCode.TOO_BIG, ValidationFailed(f"A message may have {MOST_MESSAGE_BYTES} bytes."))
