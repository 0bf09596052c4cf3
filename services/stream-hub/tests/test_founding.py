"""Founding: what becomes of markets that history does not know."""

from __future__ import annotations

import time
from importlib import import_module

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from crosstape.common.errors import ServiceUnavailable
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.market.bar import NANOSECONDS
from crosstape.stream_hub import founding
from crosstape.stream_hub.history import History, NotListed

h = import_module("services.stream-hub.tests.harness")


async def test_markets_that_history_does_not_know_keep_no_other_from_being_founded(platform):
    platform.history.unlisted = {"mtgox", ("binance", "ETH-USDT")}
    names = [("mtgox", "BTC-USD"), ("binance", "ETH-USDT"), ("binance", "BTC-USDT")]
    markets = [platform.hub.market(*name) for name in names]
    for market in markets:
        platform.founder.want(market)
    await h.until(lambda: not platform.founder.missing)
    assert [market.flow.known_from is not None for market in markets] == [False, False, True]
    with pytest.raises(ServiceUnavailable):
        await platform.founder.ensure(markets[1], seconds=0.1)


async def test_a_market_that_trades_is_founded_once_history_knows_it(platform, monkeypatch):
    monkeypatch.setattr(founding, "RELISTED_SECONDS", 0.01)
    platform.history.unlisted = {("binance", "BTC-USDT")}
    platform.trades(h.trade(1))
    await h.until(lambda: platform.history.asked >= 4)
    platform.history.unlisted = set()
    market = platform.hub.market("binance", "BTC-USDT")
    await h.until(lambda: market.flow.known_from is not None)


async def test_a_market_of_which_a_bar_is_read_before_its_trades_is_founded(platform):
    minute = h.minute_of(time.time_ns()) - 60
    platform.history.store([h.trade(1, time=minute * NANOSECONDS)])
    platform.close_minute(minute)
    platform.trades(h.trade(2))
    market = platform.hub.market("binance", "BTC-USDT")
    await h.until(lambda: market.flow.known_from is not None)
    async with h.streaming(platform) as socket:
        await h.say(socket, action="subscribe", channels=["trades:*:BTC-USDT"])
        await h.hear(socket)
        platform.trades(h.trade(3))
        assert (await h.hear(socket))["cvd"]["binance"] is not None


@pytest.mark.parametrize(
    ("status", "body", "is_not_listed"),
    [
        (404, '{"error_code":"SYMBOL_NOT_FOUND"}', True),
        (404, '{"error_code":"EXCHANGE_NOT_FOUND"}', True),
        (404, '{"error_code":"NOT_FOUND"}', False),
        (404, "default backend - 404", False),
        (503, '{"error_code":"SERVICE_UNAVAILABLE"}', False),
    ],
)
async def test_only_historys_own_word_says_that_there_is_no_such_market(status, body, is_not_listed):
    async def answer(request):
        return web.Response(status=status, text=body)

    app = web.Application()
    app.router.add_get("/internal/closed_minutes/{exchange}", answer)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        history = History(str(server.make_url("")), session, InternalTokens("stream-hub", [h.SECRET]))
        with pytest.raises(ServiceUnavailable) as refused:
            await history.closed_minutes("mtgox", ["BTC-USD"], 0)
    assert isinstance(refused.value, NotListed) == is_not_listed
