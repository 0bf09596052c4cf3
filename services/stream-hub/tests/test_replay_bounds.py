"""How much of history replays hold at once, and how many of them there may be."""

from __future__ import annotations

import contextlib
from importlib import import_module

import msgspec
import pytest

from crosstape.common.market.bar import NANOSECONDS
from crosstape.stream_hub.desk import MOST_REPLAYS_PER_USER
from crosstape.stream_hub.limits import Places
from crosstape.stream_hub.replay import merged
from crosstape.stream_hub.replay_sources import TradeSource

h = import_module("services.stream-hub.tests.harness")
r = import_module("services.stream-hub.tests.replays")

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("sources", [1, 2, 128, 640])
async def test_a_replay_of_many_channels_holds_no_more_of_history_than_one_of_few(sources):
    history = h.FakeHistory()
    many = [TradeSource(r.market_of(), history, r.message, r.LONG_AGO * NANOSECONDS) for _ in range(sources)]
    async for _ in merged(many, r.LONG_AGO * NANOSECONDS, (r.LONG_AGO + 1) * NANOSECONDS):
        pass
    assert len(history.rows) == sources
    assert sum(history.rows) <= 13_000
    assert max(history.rows) <= 2_000


async def test_items_of_many_sources_come_by_time_and_those_of_one_time_in_their_order():
    class Steps:
        def __init__(self, name, moments):
            self._name, self._moments = name, moments

        async def items(self, start, end, rows):
            for moment in self._moments:
                yield moment, self._name

    sources = [Steps("a", [1, 4, 4, 9]), Steps("b", [4, 5]), Steps("c", []), Steps("d", [0, 4])]
    told = [item async for item in merged(sources, 0, 10)]
    assert told == [(0, "d"), (1, "a"), (4, "a"), (4, "a"), (4, "b"), (4, "d"), (5, "b"), (9, "a")]


async def test_a_hub_replays_to_so_many_clients_and_refuses_the_next(platform):
    platform.desk = msgspec.structs.replace(platform.desk, replays=Places(1, 1))
    platform.history.answers.clear()
    span = {"from": r.LONG_AGO, "to": r.LONG_AGO + 1, "speed": 1e6}
    async with h.streaming(platform) as first, h.streaming(platform, name="bob") as second:
        await h.say(first, action="subscribe", channels=[r.TRADES], **span)
        await h.until(lambda: platform.history.asked)
        await h.say(second, action="subscribe", channels=[r.TRADES], **span | {"from": str(r.LONG_AGO)})
        refused = await h.hear(second)
        assert (refused["error_code"], refused["from"]) == ("RATE_LIMITED", str(r.LONG_AGO))
        platform.history.answers.set()
        assert (await h.hear(first))["type"] == "replay_complete"
        await h.say(second, action="subscribe", channels=[r.TRADES], **span)
        assert (await h.hear(second))["type"] == "replay_complete"


async def test_an_account_has_so_many_replays_and_keeps_nobody_else_from_theirs(platform):
    platform.history.answers.clear()
    endless = {"action": "subscribe", "channels": [r.TRADES], "from": r.LONG_AGO, "speed": 0.001}
    async with contextlib.AsyncExitStack() as stack:
        own = [await stack.enter_async_context(h.streaming(platform)) for _ in range(MOST_REPLAYS_PER_USER + 1)]
        other = await stack.enter_async_context(h.streaming(platform, name="bob"))
        for number, socket in enumerate(own[:-1], 1):
            await h.say(socket, **endless)
            await h.until(lambda number=number: platform.history.asked == number)
        await h.say(own[-1], **endless)
        assert (await h.hear(own[-1]))["error_code"] == "RATE_LIMITED"
        await h.say(other, **endless)
        await h.until(lambda: platform.history.asked == MOST_REPLAYS_PER_USER + 1)
        await h.say(own[0], action="unsubscribe", channels=[r.TRADES])
        assert (await h.hear(own[0]))["type"] == "unsubscribed"
        await h.say(own[-1], **endless)
        await h.until(lambda: platform.history.asked == MOST_REPLAYS_PER_USER + 2)


async def test_a_replay_of_which_no_channel_can_be_keeps_no_place(platform):
    platform.desk = msgspec.structs.replace(platform.desk, replays=Places(1, 1))
    span = {"from": r.LONG_AGO, "to": r.LONG_AGO + 1, "speed": 1e6}
    async with h.streaming(platform) as socket:
        await h.say(socket, action="subscribe", channels=["trades:binance:NOTHING"], **span)
        assert (await h.hear(socket))["error_code"] == "SYMBOL_NOT_FOUND"
        await h.say(socket, action="subscribe", channels=[r.TRADES], **span)
        assert (await h.hear(socket))["type"] == "replay_complete"
