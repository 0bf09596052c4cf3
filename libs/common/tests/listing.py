"""A history that knows market lists and nothing else, on a real port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from crosstape.common.identity.internal import HEADER, InternalTokens
from crosstape.common.identity.services import HISTORY
from crosstape.common.market.instrument import Instrument
from crosstape.common.testing.identity import INTERNAL_SECRET


class FakeHistory:
    """Answers for `lists`; an exchange that is `away` is none it can tell of, one in `held` is told of later."""

    def __init__(self, lists: Mapping[str, Sequence[Instrument]]) -> None:
        self.lists = dict(lists)
        self.away: set[str] = set()
        self.held: dict[str, asyncio.Event] = {}
        self.asked: list[str] = []
        self.tokens = InternalTokens(HISTORY, [INTERNAL_SECRET])

    async def exchanges(self, request: web.Request) -> web.Response:
        assert self.tokens.verify(request.headers[HEADER]).is_service
        self.asked.append("*")
        if "*" in self.away:
            raise web.HTTPServiceUnavailable
        return web.json_response({"exchanges": [*self.lists]})

    async def instruments(self, request: web.Request) -> web.Response:
        assert self.tokens.verify(request.headers[HEADER]).is_service
        exchange = request.match_info["exchange"]
        self.asked.append(exchange)
        if exchange in self.held:
            await self.held[exchange].wait()
        if exchange in self.away:
            raise web.HTTPBadGateway
        body = msgspec.json.encode({"instruments": self.lists[exchange]})
        return web.Response(body=body, content_type="application/json")

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        """Its origin."""
        app = web.Application()
        app.router.add_get("/exchanges", self.exchanges)
        app.router.add_get("/internal/instruments/{exchange}", self.instruments)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            for held in self.held.values():
                held.set()
            await runner.cleanup()
