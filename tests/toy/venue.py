"""The toy venue itself: one market, over real sockets, with a history of everything it ever traded."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from decimal import Decimal
from types import TracebackType

from aiohttp import web

from crosstape.cli.ports import LOOPBACK
from tests.toy.dialect import PAGE

NAME = "llama~gold"
MARKET = f"{NAME} LLAMA GOLD 0.01 0.05"
BOOK = f"b {NAME} 7 1751328000123 2.49:3,2.48:1 2.51:2"
CHANGE = f"u {NAME} 8 1751328000125 2.49:0 2.52:4"


@dataclass(frozen=True)
class Deal:
    """A trade as the venue knows it."""

    number: int
    time_ms: int
    price: Decimal
    quantity: Decimal
    side: str

    @property
    def line(self) -> str:
        return f"t {NAME} {self.number} {self.time_ms} {self.price} {self.quantity} {self.side[0]}"


class Venue:
    """A context manager. It trades when told to, and tells it to whoever listens then."""

    def __init__(self) -> None:
        self.deals: list[Deal] = []
        self.asked_from: list[int] = []
        self._listeners: dict[web.WebSocketResponse, asyncio.Transport] = {}
        self._first_ms = time.time_ns() // 1_000_000 - 600_000
        application = web.Application()
        application.router.add_get("/toy/rest/markets", self._markets)
        application.router.add_get("/toy/rest/trades/{market}", self._history)
        application.router.add_get("/toy/stream/feed", self._feed)
        self._runner = web.AppRunner(application, shutdown_timeout=1.0)

    async def __aenter__(self) -> Venue:
        await self._runner.setup()
        await web.TCPSite(self._runner, LOOPBACK, 0).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hang_up()
        await self._runner.cleanup()

    @property
    def origin(self) -> str:
        return f"http://{LOOPBACK}:{self._runner.addresses[0][1]}"

    @property
    def has_listener(self) -> bool:
        return bool(self._listeners)

    async def trade(self, count: int, *, is_told: bool = True) -> None:
        """Trade `count` times, three seconds apart in its own time, which ended before this test began."""
        for number in range(len(self.deals) + 1, len(self.deals) + count + 1):
            price = Decimal("2.50") + Decimal(number * 7 % 13) / 100
            side = "buy" if number % 3 else "sell"
            deal = Deal(number, self._first_ms + number * 3_000, price, Decimal(number % 5 + 1) / 20, side)
            self.deals.append(deal)
            if is_told:
                for listener in self._listeners:
                    await listener.send_str(deal.line)

    async def hang_up(self) -> None:
        """Drop every listener without a word, as a broken line does."""
        listeners, self._listeners = self._listeners, {}
        for transport in listeners.values():
            transport.abort()

    async def _markets(self, request: web.Request) -> web.Response:
        return web.Response(text=MARKET + "\n")

    async def _history(self, request: web.Request) -> web.Response:
        first = int(request.query["from"])
        self.asked_from.append(first)
        page = [deal.line for deal in self.deals if deal.number >= first][:PAGE]
        return web.Response(text="".join(f"{line}\n" for line in page))

    async def _feed(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        try:
            async for message in socket:
                if message.data == f"+trades {NAME}" and request.transport is not None:
                    self._listeners[socket] = request.transport
                elif message.data == f"+book {NAME}":
                    await socket.send_str(BOOK)
                    await socket.send_str(CHANGE)
        finally:
            self._listeners.pop(socket, None)
        return socket
