"""A feed: one WebSocket kept open. It connects, speaks, listens and connects again; what is said is the conversation's.

A lost connection is seen by pings, told as `Disconnected`, and made anew with a growing, random pause.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, Self, TypeVar

import aiohttp
import msgspec

from crosstape.client.buffer import Buffer
from crosstape.client.closing import LOST, Fate, closed, fate_of, reconnect_pause
from crosstape.client.errors import PASSING, ApiError, CrosstapeError, NotFound, Unauthenticated, error_class
from crosstape.client.events import Disconnected, Refused
from crosstape.client.frame import Frame, Head, decode, encode
from crosstape.client.transport import Transport

E = TypeVar("E")
E_co = TypeVar("E_co", covariant=True)

BUFFERED_EVENTS = 4_096
PING_SECONDS = 15.0
"""After half as long without a pong the connection counts as lost."""

ASK_AGAIN_SECONDS = 1.0
RENEWAL_SECONDS = 5.0
"""How often it is looked whether a login has a newer token than the connection was shown."""


class Conversation(Protocol[E_co]):
    """What is said on the socket, over all its connections."""

    def opening(self) -> Sequence[Mapping[str, Any]]:
        """The first messages of a new connection."""
        ...

    def again(self) -> Sequence[Mapping[str, Any]]:
        """What to say later, or once more as it was refused for the moment only; nothing when there is no more."""
        ...

    def read(self, frame: Frame) -> E_co | Refused | None:
        """What `frame` tells, None for nothing. Raises UnexpectedAnswer."""
        ...


class _Lost(NamedTuple):
    """How a connection ended; `has_told` is whether anything but refusals was heard on it."""

    code: int
    reason: str
    has_told: bool
    refusal: Refused | None = None
    retry_after: float = 0.0


class Feed(Generic[E]):
    """`async with` opens it, `async for` gives what is told until it is closed or cannot go on.

    Raises ConnectionFailed or ApiError when the first connection cannot be made; later ones are tried for ever, unless
    the server says that it is in vain (StreamClosed).
    """

    def __init__(
        self,
        transport: Transport,
        path: str,
        conversation: Conversation[E],
        *,
        query: Mapping[str, str] | None = None,
        packed: bool = False,
    ):
        self._transport = transport
        self._path = path
        self._query = {**(query or {}), **({"format": "msgpack"} if packed else {})}
        self._packed = packed
        self._conversation = conversation
        self._buffer: Buffer[E | Refused | Disconnected] = Buffer(BUFFERED_EVENTS)
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._bearer: str | None = None
        self._shown: str | None = None  # what the server has not answered yet
        self._tasks: list[asyncio.Task[None]] = []
        self._has_more = asyncio.Event()
        self._speaking = asyncio.Lock()

    async def __aenter__(self) -> Self:
        socket = await self._open()
        self._tasks = [asyncio.create_task(work) for work in (self._run(socket), self._ask_again(), self._prolong())]
        for task in self._tasks:
            task.add_done_callback(self._finish)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection; what is buffered can still be read."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        if self._socket is not None:
            await self._socket.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> E | Refused | Disconnected:
        return await self._buffer.get()

    async def send(self, message: Mapping[str, Any]) -> None:
        """Say something now, if there is a connection. A new one opens with what the conversation then says."""
        async with self._speaking:
            await self._say(message)

    async def _say(self, message: Mapping[str, Any]) -> None:
        frame = encode(message, packed=self._packed)
        if self._socket is not None and not self._socket.closed:
            with contextlib.suppress(aiohttp.ClientConnectionResetError):
                await (self._socket.send_bytes(frame) if isinstance(frame, bytes) else self._socket.send_str(frame))

    def _finish(self, task: asyncio.Task[None]) -> None:
        """One has ended, and what the others do is in vain."""
        self._buffer.finish(None if task.cancelled() else task.exception())
        for other in self._tasks:
            other.cancel()

    async def _run(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        lost = await self._listen(socket)
        failures, is_renewed = 0, False
        while True:
            if lost.has_told:
                failures, is_renewed = 0, False
            fate = await self._renewed(is_renewed) if fate_of(lost.code) is Fate.RENEW else fate_of(lost.code)
            if fate is Fate.OVER:
                raise closed(lost.code, lost.reason, lost.refusal)
            is_renewed = fate is Fate.RENEW
            pause = reconnect_pause(fate, failures, random.random(), lost.retry_after)
            await self._buffer.put(Disconnected(code=lost.code, reason=lost.reason, retry_in=pause))
            await asyncio.sleep(pause)
            failures += 1
            lost = await self._again()

    async def _renewed(self, is_renewed: bool) -> Fate:
        """What follows a refused token: a new one is shown once, and while none can be had it is tried again."""
        try:
            can_go_on = not is_renewed and await self._transport.credentials.renew(self._bearer)
        except PASSING:
            return Fate.AGAIN
        return Fate.RENEW if can_go_on else Fate.OVER

    async def _again(self) -> _Lost:
        try:
            socket = await self._open()
        except (*PASSING, NotFound) as error:  # the path was there: without it a proxy has nobody behind it
            retry_after = error.retry_after if isinstance(error, ApiError) else None
            return _Lost(LOST, str(error), has_told=False, retry_after=retry_after or 0.0)
        return await self._listen(socket)

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        """A new connection on which the first things have been said."""
        socket = await self._connect()
        async with self._speaking:  # what is said meanwhile comes behind: it may be that one of these ends at once
            self._socket = socket
            for message in self._conversation.opening():
                await self._say(message)
        self._has_more.set()
        return socket

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse) -> _Lost:
        """Hear everything this connection tells."""
        has_told = False
        refusal = None
        while True:
            message = await socket.receive()
            if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                reason = message.extra if message.type is aiohttp.WSMsgType.CLOSE else message.data
                return _Lost(socket.close_code or LOST, str(reason or ""), has_told, refusal)
            event = self._conversation.read(message.data)
            if self._shown is not None and (event is None or isinstance(event, Refused)):
                event = self._answered(self._shown, decode(message.data, Head), event)
            if isinstance(event, Refused):
                refusal = event
                self._has_more.set()
            elif event is not None:
                has_told = True
            if event is not None:
                await self._buffer.put(event)

    def _answered(self, shown: str, head: Head, event: Refused | None) -> Refused | None:
        """Take note of what came of a token if `head` says it: one that was refused for the moment is shown again."""
        if head.type != "authenticated" and head.action != "auth":
            return event
        self._shown = None
        if event is not None and issubclass(error_class(event.error_code), PASSING):
            return msgspec.structs.replace(event, will_retry=True)
        self._bearer = shown
        return event

    async def _ask_again(self) -> None:
        while True:
            await self._has_more.wait()
            self._has_more.clear()
            await asyncio.sleep(ASK_AGAIN_SECONDS)
            for message in self._conversation.again():
                await self.send(message)
                self._has_more.set()

    async def _prolong(self) -> None:
        """Show the login's next token before the last one runs out: the server would close the connection then."""
        while True:
            await asyncio.sleep(RENEWAL_SECONDS)
            try:
                bearer = await self._transport.credentials.bearer()
            except CrosstapeError:  # the server says so when it is too late
                continue
            if self._bearer and bearer and bearer not in (self._bearer, self._shown):
                self._shown = bearer
                await self.send({"action": "auth", "token": bearer})

    async def _connect(self) -> aiohttp.ClientWebSocketResponse:
        credentials = self._transport.credentials
        bearer = await credentials.bearer()
        try:
            socket = await self._transport.websocket(self._path, self._query, bearer, PING_SECONDS)
        except Unauthenticated:
            if bearer is None or not await credentials.renew(bearer):
                raise
            bearer = await credentials.bearer()
            socket = await self._transport.websocket(self._path, self._query, bearer, PING_SECONDS)
        self._bearer, self._shown = bearer, None
        return socket
