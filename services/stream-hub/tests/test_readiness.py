"""When a hub that starts may be sent clients."""

from __future__ import annotations

import asyncio
from importlib import import_module

import pytest

from crosstape.common.bus.connection import BusSettings
from crosstape.common.testing.builders import symbol_tables
from crosstape.stream_hub.following import Following
from crosstape.stream_hub.founding import Founder
from crosstape.stream_hub.main import can_tell

h = import_module("services.stream-hub.tests.harness")


@pytest.fixture
def founder():
    return Founder(h.FakeHistory(), asyncio.Event().wait)


def lists_without(exchange):
    tables = symbol_tables({name: listed for name, listed in h.LISTS.items() if name != exchange})
    tables.exchanges = list(h.LISTS)
    return tables


async def test_a_hub_waits_for_the_log_and_for_every_exchanges_list(founder):
    tables, caught_up = lists_without("kraken"), asyncio.Event()
    waiting = asyncio.create_task(can_tell(30.0, caught_up, founder, tables))
    await asyncio.wait({waiting}, timeout=0.2)
    assert not waiting.done()
    caught_up.set()
    await asyncio.wait({waiting}, timeout=0.2)
    assert not waiting.done()
    tables.put("kraken", h.LISTS["kraken"])
    assert await asyncio.wait_for(waiting, 5.0)


async def test_a_list_that_stays_away_does_not_keep_the_others_from_being_told(founder):
    caught_up = asyncio.Event()
    caught_up.set()
    assert await asyncio.wait_for(can_tell(0.2, caught_up, founder, lists_without("kraken")), 5.0)


async def test_a_hub_that_has_read_nothing_yet_tells_how_long_it_waits_and_not_how_long_the_machine_runs():
    check = Following(BusSettings("127.0.0.1:1"), None, 300.0).check()
    assert not check.is_up
    assert check.detail["polled_ms"] < 60_000
