"""What picows tells of one connection, as calls of a feed and its handler."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from crosstape.exchanges.dialect import FeedError, MalformedFrame, MarketRefused

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""Coinbase sends a whole book, tens of thousands of levels, in one frame."""

_TEXT, _now = WSMsgType.TEXT, time.time_ns


def _unread(payload: bytes, time_received: int) -> Sequence[object]:
    return ()


class Listener(WSListener):
    """Hands the socket's messages over, as one call each: another one would cost a tenth of a trade's way."""

    __slots__ = (
        "_answers", "_fragments", "_go_without", "_is_abandoned", "_leave", "_messages", "_notices", "_on_frame",
        "_opened", "_skip",
    )  # fmt: skip

    def __init__(
        self,
        on_frame: Callable[[bytes, int], Sequence[object]],
        opened: Callable[[WSTransport], None],
        skip: Callable[[MalformedFrame, bytes], None],
        go_without: Callable[[MarketRefused], None],
        leave: Callable[[WSTransport, str], None],
    ):
        super().__init__()
        self._on_frame = on_frame
        self._opened = opened
        self._skip = skip
        self._go_without = go_without
        self._leave = leave
        self._fragments = bytearray()
        self._messages = self._notices = self._answers = 0
        self._is_abandoned = False

    def abandon(self) -> None:
        """Hand nothing over any more, and leave the connection as soon as it is open."""
        self._is_abandoned = True
        self._on_frame = _unread  # picows would still tell what came together with the answer to the handshake

    def on_ws_connected(self, transport: WSTransport) -> None:
        if self._is_abandoned:
            transport.disconnect(graceful=False)
        else:
            self._opened(transport)  # before the frames that came with it

    def take_counts(self) -> tuple[int, int, int]:
        """How many messages, those of them that told nothing, and PONGs came since it was last asked."""
        counts = self._messages, self._notices, self._answers
        self._messages = self._notices = self._answers = 0
        return counts

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == _TEXT and frame.fin and not self._fragments:
            payload = frame.get_payload_as_bytes()
        elif not (payload := self._joined(transport, frame)):
            return
        self._messages += 1
        try:
            if not self._on_frame(payload, _now()):
                self._notices += 1
        except MalformedFrame as error:
            self._skip(error, payload)
        except MarketRefused as error:
            self._go_without(error)
        except FeedError as error:
            self._leave(transport, str(error))  # which may still be opening

    def _joined(self, transport: WSTransport, frame: WSFrame) -> bytes:
        """The message that `frame` ends; empty while it goes on, and for frames that are of none."""
        if frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()
        elif frame.msg_type == WSMsgType.PONG:
            self._answers += 1
        elif frame.msg_type in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION):
            self._fragments += frame.get_payload_as_bytes()
            if len(self._fragments) > MAX_FRAME_BYTES:
                self._leave(transport, "a fragmented message is larger than any frame may be")
            elif frame.fin:
                message, self._fragments = bytes(self._fragments), bytearray()
                return message
        return b""
