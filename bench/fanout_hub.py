"""One contender of the fan-out: a process that takes subscribers and sends them all the same messages.

Run as `python -m bench.fanout_hub KIND`; prints its port, then obeys one line on stdin: "TURNS MESSAGES_A_TURN RATE"
(RATE turns a second, 0 for as fast as it goes), or "memory": prints by how many KiB the subscribers made it grow. A
message is the hub's own `trade`, whose id is the time it was made.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import resource
import sys
import threading
import time
from pathlib import Path
from typing import Any, Protocol

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI, WebSocket, WebSocketDisconnect
from websockets.asyncio.server import ServerConnection, broadcast, serve

from bench.fanout_desk import open_door
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.stream_hub import messages
from crosstape.stream_hub.encoding import Encoding

CHANNEL = "trades:binance:BTC-USDT"
BACKLOG = 256 * 1024
"""While a socket has this much waiting, nothing more is published: what is measured is delivery, not memory."""
WATCHED = 50
"""Every so manieth socket is looked at."""


class Contender(Protocol):
    """A way to send everybody the same."""

    async def start(self) -> int:
        """Listen; the port."""
        ...

    async def publish(self, count: int) -> None:
        """Send everybody `count` new messages in one turn of the loop."""
        ...


def trade() -> Trade:
    """A trade that says when it was made."""
    side = TakerSide.BUY
    return Trade("binance", "BTC-USDT", time.monotonic_ns(), time.time_ns(), "60000.25", "0.12345678", side, 0)


def payload() -> bytes:
    """The message that the hub sends for it, without the frame around it."""
    return Encoding().frame(messages.trade(CHANNEL, trade(), 1 << 40))[4:]


class Crosstape:
    """The hub's own door, session, market, group and outbox."""

    async def start(self) -> int:
        self._market, self._door, self._sockets, self._serving = await open_door()
        self._offset = 0
        return self._door.port

    async def publish(self, count: int) -> None:
        self._offset += 1
        self._market.take_trades([trade() for _ in range(count)], self._offset, time.time_ns() // 1_000_000)
        await asyncio.sleep(0)
        for member in self._sockets[::WATCHED]:
            while member.backlog() > BACKLOG:
                await asyncio.sleep(0.0005)


class FastApi:
    """FastAPI on uvicorn as it comes: a set of sockets, and `send_text` for each."""

    async def start(self) -> int:
        app, self._sockets = FastAPI(), set[WebSocket]()

        @app.websocket("/ws")
        async def subscribe(socket: WebSocket) -> None:
            await socket.accept()
            self._sockets.add(socket)
            with contextlib.suppress(WebSocketDisconnect):
                while True:
                    await socket.receive_text()

        config = uvicorn.Config(app, port=0, log_level="critical", ws_per_message_deflate=False, backlog=4096)
        server = uvicorn.Server(config)
        self._serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        return int(server.servers[0].sockets[0].getsockname()[1])

    async def publish(self, count: int) -> None:
        for _ in range(count):
            text = payload().decode()
            for socket in self._sockets:
                await socket.send_text(text)
        await asyncio.sleep(0)


class Websockets:
    """The library's own `broadcast`."""

    async def start(self) -> int:
        self._connections = set[ServerConnection]()
        self._watched: list[ServerConnection] = []

        async def handle(connection: ServerConnection) -> None:
            self._connections.add(connection)
            await connection.wait_closed()

        self._server = await serve(handle, "127.0.0.1", 0, compression=None, ping_interval=None, backlog=4096)
        return int(next(iter(self._server.sockets)).getsockname()[1])

    async def publish(self, count: int) -> None:
        for _ in range(count):
            broadcast(self._connections, payload().decode())
        await asyncio.sleep(0)
        self._watched = self._watched or list(self._connections)[::WATCHED]
        for connection in self._watched:
            while connection.transport.get_write_buffer_size() > BACKLOG:
                await asyncio.sleep(0.0005)


CONTENDERS: dict[str, type[Contender]] = {"crosstape": Crosstape, "fastapi": FastApi, "websockets": Websockets}


async def obey(contender: Contender) -> None:
    """Listen, then do what stdin says, and stay until it is closed."""
    loop = asyncio.get_running_loop()
    port = await contender.start()
    before = resident()
    print(port, flush=True)
    order = await loop.run_in_executor(None, sys.stdin.readline)
    if order.startswith("memory"):
        print(resident() - before, flush=True)
    else:
        turns, at_once, rate = map(int, order.split())
        began = loop.time()
        for turn in range(turns):
            if rate:
                await asyncio.sleep(max(0.0, began + turn / rate - loop.time()))
            await contender.publish(at_once)
    await loop.run_in_executor(None, sys.stdin.readline)


def resident() -> int:
    """This process's memory in KiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def serve_socketify() -> None:
    """uWebSockets through socketify: its own loop, its own `publish`."""
    app: Any = importlib.import_module("socketify").App()
    order: list[str] = []

    def opened(socket: Any) -> None:
        socket.subscribe("all")

    app.ws("/ws", {"open": opened, "max_backpressure": 64 * 1024 * 1024, "idle_timeout": 0, "compression": 0})

    async def publish() -> None:
        while not order:
            await asyncio.sleep(0.005)
        turns, at_once, rate = map(int, order[0].split())
        began = time.monotonic()
        for turn in range(turns):
            if rate:
                await asyncio.sleep(max(0.0, began + turn / rate - time.monotonic()))
            for _ in range(at_once):
                app.publish("all", payload(), 1, False)
            await asyncio.sleep(0)

    app.listen(0, lambda config: print(config.port, flush=True))
    threading.Thread(target=lambda: order.append(sys.stdin.readline()), daemon=True).start()
    app.run_async(publish())
    app.run()


if __name__ == "__main__":
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    if sys.argv[1] == "socketify":
        serve_socketify()
    else:
        uvloop.run(obey(CONTENDERS[sys.argv[1]]()))
