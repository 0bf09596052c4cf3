"""A configured symbol that its exchange does not list, for example while it is halted, costs the others nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.consumer import Consumer
from crosstape.common.bus.topics import TRADES
from crosstape.common.errors import ExchangeError, SymbolNotFound
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.runtime.health import Health
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor import listing
from crosstape.ingestor.listing import Choice, choose, until_listed
from crosstape.ingestor.main import ingest
from crosstape.ingestor.settings import IngestorSettings
from tests.e2e.stack import Service
from tests.engines.plugin import Broker

BITCOIN = Instrument("binance", "BTCUSDT", "BTC", "USDT")
ETHER = Instrument("binance", "ETHUSDT", "ETH", "USDT")


class Source:
    """An exchange that lists what it is told to, an error first for each of `failures`."""

    def __init__(self, *listed: Instrument, failures: int = 0):
        self.listed = list(listed)
        self.failures = failures

    async def markets(self) -> list[Instrument]:
        if self.failures:
            self.failures -= 1
            raise ExchangeError("away")
        return self.listed


def source(*listed: Instrument, failures: int = 0) -> ExchangeRest:
    return cast(ExchangeRest, Source(*listed, failures=failures))


async def test_a_symbol_that_is_not_listed_is_left_out_and_named() -> None:
    choice = await choose("binance", source(BITCOIN, failures=1), ["eth-usdt", "BTC/USDT", "btcusdt"])
    assert (choice.instruments, choice.unlisted) == ([BITCOIN], ["eth-usdt"])
    assert listing.UNLISTED.labels("binance")._value.get() == 1


async def test_where_no_symbol_is_listed_an_error_says_so() -> None:
    with pytest.raises(SymbolNotFound, match="none of ETH-USDT, XRP-USDT"):
        await choose("binance", source(BITCOIN), ["ETH-USDT", "XRP-USDT"])


async def test_a_halted_market_is_waited_for_and_not_replaced_by_that_of_another_quote(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "LOOK_SECONDS", 0.001)
    dollar, tether, ether = (
        Instrument("kraken", f"{b}{q}", b, q) for b, q in [("A", "USD"), ("A", "USDT"), ("B", "USD")]
    )
    exchange = Source(tether, ether)
    choice = await choose("kraken", cast(ExchangeRest, exchange), ["A-USD", "B-USD"])
    assert (choice.instruments, choice.unlisted) == ([ether], ["A-USD"])
    waiting = asyncio.create_task(until_listed("kraken", cast(ExchangeRest, exchange), choice))
    await asyncio.wait((waiting,), timeout=0.1)
    assert not waiting.done()
    exchange.listed.append(dollar)
    async with asyncio.timeout(10):
        await waiting


async def test_another_quote_stands_in_on_an_exchange_that_lists_nothing_in_the_one_asked_for() -> None:
    choice = await choose("binance", source(BITCOIN, ETHER), ["BTC-USD"])
    assert choice.instruments == [BITCOIN]


async def test_an_ambiguous_symbol_is_an_error_and_no_market_to_wait_for() -> None:
    twins = [Instrument("okx", f"AB-{number}", base, quote) for number, base, quote in [(1, "A", "BC"), (2, "AB", "C")]]
    with pytest.raises(SymbolNotFound, match="ambiguous"):
        await choose("okx", source(BITCOIN, *twins), ["BTC-USDT", "abc"])


async def test_of_two_markets_of_one_name_the_later_one_is_left_out_and_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listing, "LOOK_SECONDS", 0.001)
    first, second = (
        Instrument("okx", f"BTC-{name}-SWAP", "BTC", "USDC", Kind.PERPETUAL) for name in ("USDC", "USDC_UM")
    )
    exchange = Source(first, second)
    choice = await choose("okx", cast(ExchangeRest, exchange), ["BTC-USDC-SWAP", "BTC-USDC_UM-SWAP", "ETH-USDC"])
    assert (choice.instruments, choice.unlisted) == ([first], ["BTC-USDC_UM-SWAP", "ETH-USDC"])
    waiting = asyncio.create_task(until_listed("okx", cast(ExchangeRest, exchange), choice))
    await asyncio.wait((waiting,), timeout=0.1)
    assert not waiting.done()
    exchange.listed.append(Instrument("okx", "ETH-USDC", "ETH", "USDC"))
    async with asyncio.timeout(10):
        await waiting


async def test_it_is_waited_for_until_one_of_them_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LOOK_SECONDS", 0.001)
    exchange, choice = Source(BITCOIN), Choice([BITCOIN], ["XRP-USDT", "ETH-USDT"])
    waiting = asyncio.create_task(until_listed("binance", cast(ExchangeRest, exchange), choice))
    await asyncio.wait((waiting,), timeout=0.1)
    assert not waiting.done()
    exchange.listed.append(ETHER)
    async with asyncio.timeout(10):
        await waiting


@pytest.mark.integration
async def test_the_others_are_read_meanwhile_and_it_is_taken_up_once_it_is_listed(
    empty_broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "LOOK_SECONDS", 0.2)
    listed, halted = ExchangeRest.markets, {"ETH-USDT"}

    async def markets(rest: ExchangeRest) -> list[Instrument]:
        return [instrument for instrument in await listed(rest) if instrument.symbol not in halted]

    monkeypatch.setattr(ExchangeRest, "markets", markets)
    simulator = Service(
        "sim", "crosstape.exchange_sim", ("--exchanges", "binance", "--symbols", "2", "--rate", "40"), {}, tmp_path
    )
    settings = IngestorSettings(
        exchange="binance",
        symbols=["BTC-USDT", "ETH-USDT"],
        exchange_origin=simulator.url,
        kafka_bootstrap=empty_broker.bootstrap,
    )
    health, stop, symbols = Health(needs=("feed",)), asyncio.Event(), set[str]()

    async def read(consumer: Consumer) -> None:
        async for batch in consumer.batches(max_records=10_000, max_age=0.2):
            symbols.update(trades.symbol for trades in batch.records[TRADES.name])

    async def until(condition: Callable[[], object]) -> None:
        async with asyncio.timeout(30):
            while not condition():
                await asyncio.sleep(0.05)

    await simulator.start()
    try:
        async with Consumer(BusSettings(empty_broker.bootstrap), [TRADES], group="g") as consumer:
            reading = asyncio.create_task(read(consumer))
            ingesting = asyncio.create_task(ingest(settings, health, stop))
            await until(lambda: symbols == {"BTC-USDT"})
            assert health.is_ready
            assert health.checks()["feed"].detail["unlisted"] == ["ETH-USDT"]
            halted.clear()
            await until(lambda: symbols == {"BTC-USDT", "ETH-USDT"})
            assert health.checks()["feed"].detail["unlisted"] == []
            stop.set()
            async with asyncio.timeout(30):
                await ingesting
            reading.cancel()
    finally:
        await simulator.stop()
