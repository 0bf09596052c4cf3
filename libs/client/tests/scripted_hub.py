"""A small stream-hub after the contract, on the scripted platform's port: channels with offsets, recovery, faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
from aiohttp import WSMsgType, web

from libs.client.tests.scripted_platform import ScriptedPlatform

Message = dict[str, Any]

PATIENCE = 30.0
"""How long (s) what comes at once is waited for, on a machine that is busy."""


class Socket:
    """One client's connection. `channels` is what it gets; `heard` what it said."""

    def __init__(self, request: web.Request, answers_pings: bool):
        self.request = request
        self.is_packed = request.query.get("format") == "msgpack"
        self.bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.ws = web.WebSocketResponse(autoping=answers_pings)
        self.channels: set[str] = set()
        self.heard: list[Message] = []
        self.sent = 0

    async def send(self, message: Message | bytes) -> None:
        """A message, or one that is already encoded JSON."""
        self.sent += 1
        if self.is_packed:
            await self.ws.send_bytes(msgspec.msgpack.encode(message))
        else:
            text = message if isinstance(message, bytes) else msgspec.json.encode(message)
            await self.ws.send_str(text.decode())

    def cut(self) -> None:
        """Break the connection off, without a word."""
        assert self.request.transport is not None
        self.request.transport.abort()


class ScriptedHub:
    """`log` has every message of a channel; those up to `floor` cannot be recovered.

    `on_connect` gives a closing code, None to go on; `on_message` the answers to a message, None for the usual ones.
    """

    def __init__(self, platform: ScriptedPlatform, path: str = "/ws/v1/stream"):
        self.epoch = "e1"
        self.log: dict[str, list[tuple[int, Message]]] = {}
        self.floor: dict[str, int] = {}
        self.aliases: dict[str, str] = {}
        self.sockets: list[Socket] = []
        self.open: list[Socket] = []
        self.answers_pings = True
        self.on_connect: Callable[[Socket], int | None] = lambda socket: None
        self.on_message: Callable[[Socket, Message], list[Message] | None] = lambda socket, message: None
        self.after_send: Callable[[Socket], None] = lambda socket: None
        self._changed = asyncio.Condition()
        platform.serve(path, self._serve)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until something that clients do makes it true."""
        async with asyncio.timeout(PATIENCE), self._changed:
            await self._changed.wait_for(condition)

    async def publish(self, channel: str, offset: int, **message: Any) -> None:
        """A message of `channel` at `offset`, kept and sent to whoever is subscribed."""
        whole = {"channel": channel, "offset": offset, **message}
        self.log.setdefault(channel, []).append((offset, whole))
        for socket in list(self.open):
            if channel in socket.channels:
                await self._send(socket, whole)

    async def close(self, code: int) -> None:
        """Close every connection."""
        for socket in list(self.open):
            await socket.ws.close(code=code, message=b"because")

    async def _send(self, socket: Socket, message: Message) -> None:
        try:
            await socket.send(message)
        except ConnectionError:
            return
        self.after_send(socket)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        socket = Socket(request, self.answers_pings)
        await socket.ws.prepare(request)
        self.sockets.append(socket)
        self.open.append(socket)
        await self._tell()
        try:
            code = self.on_connect(socket)
            if code is not None:
                await socket.ws.close(code=code, message=b"because")
                return socket.ws
            async for message in socket.ws:
                if message.type is WSMsgType.BINARY:
                    heard = msgspec.msgpack.decode(message.data)
                else:
                    heard = msgspec.json.decode(message.data)
                socket.heard.append(heard)
                await self._hear(socket, heard)
                await self._tell()
        except ConnectionError:
            pass  # cut by the test
        finally:
            self.open.remove(socket)
            await self._tell()
        return socket.ws

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _hear(self, socket: Socket, message: Message) -> None:
        answers = self.on_message(socket, message)
        if answers is not None:
            for answer in answers:
                await self._send(socket, answer)
        elif message["action"] == "subscribe":
            for asked in message["channels"]:
                await self._subscribe(socket, asked if isinstance(asked, dict) else {"channel": asked})
        elif message["action"] == "unsubscribe":
            for channel in message["channels"]:
                socket.channels.discard(channel)
                await self._send(socket, {"type": "unsubscribed", "channel": channel})

    async def _subscribe(self, socket: Socket, asked: Message) -> None:
        channel = self.aliases.get(asked["channel"], asked["channel"])
        log = self.log.setdefault(channel, [])
        floor = self.floor.get(channel, -1)
        newest = log[-1][0] if log else floor
        since = asked.get("since")
        is_recovered = since is not None and asked["epoch"] == self.epoch and since >= floor
        place = since if is_recovered else newest
        answer = {"type": "subscribed", "channel": channel, "epoch": self.epoch, "offset": place}
        if channel != asked["channel"]:
            answer["asked"] = asked["channel"]
        if since is not None:
            answer["recovered"] = is_recovered
        await self._send(socket, answer)
        done = 0
        while done < len(log):  # it may grow while it is sent
            offset, message = log[done]
            if offset > place:
                await self._send(socket, message)
            done += 1
        socket.channels.add(channel)
