"""What `record` asks an exchange's REST for: at its pace, and never longer than the recording goes on."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from crosstape.common.market.instrument import Instrument
from crosstape.exchanges import dialect_of
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor import record
from crosstape.ingestor.record import note_book

BINANCE = dialect_of("binance")
MARKET = Instrument("binance", "BTCUSDT", "BTC", "USDT")


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


async def test_a_ban_is_kept_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    async def ban(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=418, text="banned", headers={"Retry-After": "7200"})

    output = io.BytesIO()
    async with serving(ban) as origin, aiohttp.ClientSession() as session:
        rest = ExchangeRest(BINANCE, origin, session)
        for _ in range(3):
            await note_book(BINANCE, MARKET, rest, output)
    assert len(asked) == 1
    assert output.getvalue() == b""
    assert capsys.readouterr().err.count("no book of BTC-USDT") == 3


async def test_an_interrupt_ends_it_while_a_book_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    async def markets(rest: ExchangeRest) -> list[Instrument]:
        return [MARKET]

    monkeypatch.setattr(ExchangeRest, "markets", markets)
    is_asked, never = asyncio.Event(), asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        if "stream" in request.path:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.send_str("{}")
            async for _ in socket:
                pass
            return socket
        is_asked.set()
        await never.wait()
        return web.Response()

    output = io.BytesIO()
    async with serving(hang) as origin, asyncio.timeout(10):
        recording = asyncio.create_task(record.record(BINANCE, ["BTC-USDT"], origin, output))
        await is_asked.wait()
        os.kill(os.getpid(), signal.SIGINT)
        assert await recording >= 1
        never.set()
    directions = [msgspec.json.decode(line)["dir"] for line in output.getvalue().splitlines()]
    assert sorted(directions) == ["in", "open"]
