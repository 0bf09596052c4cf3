"""One client's socket: frames to messages, messages to its session one after the other, and how it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol, cast

import structlog
from picows import WSCloseCode, WSFrame, WSListener, WSMsgType, WSTransport
from prometheus_client import Counter

from crosstape.common.errors import LONGEST_ECHO, PlatformError, Unauthenticated
from crosstape.common.identity.principal import Principal
from crosstape.common.web.errors import encodable
from crosstape.stream_hub.assembly import Assembly, Received
from crosstape.stream_hub.encoding import PING_FRAME, Build, Encoding
from crosstape.stream_hub.fanout import Write
from crosstape.stream_hub.handshake import Hello
from crosstape.stream_hub.inbox import Inbox, too_often
from crosstape.stream_hub.protocol import (
    CloseCode,
    Closing,
    TooMany,
    closing,
    error_message,
    read_message,
    text_of,
)
from crosstape.stream_hub.rights import Rights

if TYPE_CHECKING:
    from crosstape.stream_hub.door import Door

log = structlog.get_logger(__name__)

PING_SECONDS = 20.0
AUTHENTICATE_SECONDS = 10.0
CLOSE_SECONDS = 5.0
LONGEST_REASON = 120
KERNEL_BYTES = 128 * 1024
"""The kernel's own buffer for one socket (it doubles this). Left alone it would grow to megabytes for a slow reader."""
KERNEL_BYTES_IN = 32 * 1024
"""The same of what comes in. Left alone, one read would bring a million frames, all before anybody else has a turn."""
ECHOED = "action", "exchange", "symbol", "from"
"""What an error says again of the message that it answers."""

CLOSED = Counter("crosstape_hub_closed_sockets_total", "Sockets that the hub closed", ["code"])


Work = Callable[[], Coroutine[Any, Any, None]]


class Session(Protocol):
    """What a route does with its client."""

    async def open(self) -> None: ...
    async def handle(self, message: dict[str, Any], /) -> None: ...
    def close(self) -> None: ...


class Connection(WSListener):
    """A socket and whoever is at its other end. Nothing here waits for the client: what it is too slow to take closes
    it with 4408."""

    def __init__(self, hello: Hello, door: Door, address: str):
        self.hello = hello
        self.encoding: Encoding = hello.encoding
        self.address = address
        self.is_closing = False
        self._door = door
        self._rights = Rights(self, door)
        self._session: Session | None = None
        self._working: asyncio.Task[None] | None = None
        self._own_work: set[asyncio.Task[None]] = set()
        self._assembly = Assembly(can_inflate=hello.encoding.is_deflated)
        self._was_greeted = False

    @property
    def principal(self) -> Principal | None:
        """The client, once it is known."""
        return self._rights.principal

    # --- what picows calls

    def on_ws_connected(self, transport: WSTransport) -> None:
        now = asyncio.get_running_loop().time()
        self._transport = transport
        self._raw = cast(Any, transport.underlying_transport)  # aiofastnet's
        self._raw.set_write_buffer_limits(high=self._door.most_backlog)
        self._opened = self._heard = self._pinged = now
        self._inbox = Inbox(now)
        self.address = self.address or str((self._raw.get_extra_info("peername") or ("",))[0])
        raw_socket = self._raw.get_extra_info("socket")
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        raw_socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, KERNEL_BYTES_IN)
        try:
            self._door.admit(self)
        except TooMany as error:
            self.end(closing(error))
        if not self.is_closing:
            self._work_on()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self._heard = asyncio.get_running_loop().time()
        try:
            self._inbox.hear(self._heard)
        except Closing as end:
            self.end(end)
            self._raw.pause_reading()  # to read it costs as much as to answer it
            return
        kind = frame.msg_type
        if kind == WSMsgType.PING:
            transport.send_pong(frame.get_payload_as_bytes())
        elif kind == WSMsgType.CLOSE:
            self._leave()
            if not transport.is_close_frame_sent:
                code = frame.get_close_code()  # NO_INFO is no code to send: to browsers it is a broken frame
                transport.send_close(WSCloseCode.OK if code == WSCloseCode.NO_INFO else code)
            transport.disconnect()
        elif kind in (WSMsgType.TEXT, WSMsgType.BINARY, WSMsgType.CONTINUATION) and not self.is_closing:
            self._take(frame)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self._leave()

    def pause_writing(self) -> None:
        """More is waiting for the client than it may leave waiting."""
        why = TooMany("You read too slowly. Connect again and resume with the last offset and its epoch.")
        self.end(Closing(CloseCode.TOO_SLOW, why))

    def resume_writing(self) -> None:
        """The client that was too slow reads on; it is told so by the close that waits for it."""

    # --- from frames to messages

    def _take(self, frame: WSFrame) -> None:
        payload, is_last = frame.get_payload_as_bytes(), bool(frame.fin)
        try:
            if frame.msg_type == WSMsgType.CONTINUATION:
                received = self._assembly.go_on(payload, is_last=is_last)
            else:
                is_packed = frame.msg_type == WSMsgType.BINARY
                is_deflated = bool(frame.rsv1)
                received = self._assembly.begin(payload, is_packed=is_packed, is_deflated=is_deflated, is_last=is_last)
            if received is not None:
                self._inbox.put(received, self._heard)
                self._work_on()
        except Closing as end:
            self.end(end)

    # --- from messages to the session

    def _work_on(self) -> None:
        if self._working is None:
            self._working = self._door.spawn(self._alone(self._work))

    async def _work(self) -> None:
        """Greet the client if that is still to do, then handle its messages in their order."""
        structlog.contextvars.bind_contextvars(request_id=self.hello.request_id)  # for this task and those it begins
        try:
            if not self._was_greeted:
                self._was_greeted = True
                if self.hello.credential:
                    await self._rights.show(self.hello.credential)
                await self._begin()
            while self._inbox and not self.is_closing:
                await self._handle(*self._inbox.take())
        except Closing as end:
            self.end(end)
        except PlatformError as error:
            self.end(closing(error))
        finally:
            self._working = None

    async def _begin(self) -> None:
        if self._session is None and self._door.may_begin(self):
            session = self._door.session(self)
            await session.open()
            self._session = session

    async def _handle(self, received: Received, is_allowed: bool) -> None:
        message: dict[str, Any] = {}
        try:
            message = read_message(received.payload, is_packed=received.is_packed)
            action = message.get("action")
            if not is_allowed:
                raise too_often()
            if action == "auth":
                await self._authenticate_later(text_of(message, "token"))
            elif action == "ping":
                self.send(lambda notation: {"type": "pong"})
            elif self._session is None:
                raise Unauthenticated('This stream needs a token: send {"action":"auth","token":"..."} first.')
            else:
                await self._session.handle(message)
        except PlatformError as error:
            echo = {
                name: encodable(said[:LONGEST_ECHO]) for name in ECHOED if isinstance(said := message.get(name), str)
            }
            self.send(error_message(error, echo))

    async def _authenticate_later(self, token: str) -> None:
        try:
            await self._rights.show(token)
        except PlatformError as error:
            if self._session is None:
                raise closing(error) from error
            raise
        principal = self.principal
        told = {
            "type": "authenticated",
            "username": principal.username if principal else "",
            "expires_at": principal.expires_at if principal else 0,
        }
        self.send(lambda notation: told)
        await self._begin()

    async def _alone(self, work: Work) -> None:
        try:
            await work()
        except Exception as failure:  # one client's trouble is not another's
            log.error("session_failed", route=self.hello.path[0], exc_info=failure)
            self.end(Closing(CloseCode.INTERNAL_ERROR, PlatformError("An unexpected error occurred. It was logged.")))

    def spawn(self, work: Work) -> asyncio.Task[None]:
        """Work for this client that ends with the socket."""
        task = self._door.spawn(self._alone(work))
        self._own_work.add(task)
        task.add_done_callback(self._own_work.discard)
        return task

    # --- to the client

    @property
    def write_now(self) -> Write:
        """The transport's own method, without its checks of what always holds here: bytes, and from the loop."""
        write: Write = self._raw.write_nocheck
        return write

    def backlog(self) -> int:
        """Bytes that wait for the client, those of this turn with them."""
        size: int = self._raw.get_write_buffer_size()
        return size + self._door.outbox.waiting(self)

    def send(self, build: Build) -> None:
        """A message, behind everything that was sent before."""
        self._door.outbox.send(self, build)

    def write(self, data: bytes) -> None:
        """Encoded frames, at once, unless the socket is being closed."""
        if not self.is_closing:
            self.write_now(data)

    def end(self, why: Closing) -> None:
        """Tell the client why, and close; whoever does not answer is cut off."""
        if self.is_closing:
            return
        CLOSED.labels(int(why.code)).inc()
        self._leave()
        self.write_now(self.encoding.frame(error_message(why.error)))
        self._close(why.code, why.error.message)

    def restart(self) -> None:
        """The hub stops: the client is to connect again at once."""
        if not self.is_closing:
            CLOSED.labels(int(CloseCode.RESTART)).inc()
            self._leave()
            self._close(CloseCode.RESTART, "restart: connect again and resume")

    def _close(self, code: CloseCode, reason: str) -> None:
        text = reason.encode()[:LONGEST_REASON].decode(errors="ignore")
        self._transport.send_close(cast(WSCloseCode, int(code)), text)
        asyncio.get_running_loop().call_later(CLOSE_SECONDS, self._raw.abort)

    def _leave(self) -> None:
        if self.is_closing:
            return
        self.is_closing = True
        if self._session is not None:
            self._session.close()
        for task in self._own_work:
            task.cancel()
        if self._working is not None and self._working is not asyncio.current_task():
            self._working.cancel()
        self._door.left(self)

    # --- once a second

    def look(self, now: float) -> None:
        """Ping, and end what has no right or no life any more; `now` is the loop's time."""
        if self.is_closing:
            return
        if self._session is None and now - self._opened > AUTHENTICATE_SECONDS and self._working is None:
            self.end(closing(Unauthenticated("No token came in time.")))
        elif (why := self._rights.look(now)) is not None:
            self.end(why)
        elif now - self._pinged >= PING_SECONDS:
            if self._heard < self._pinged:
                self._leave()
                self._raw.abort()
            else:
                self._pinged = now
                self.write_now(PING_FRAME)
