"""What a backfill tells the ledger: of a trade that no tape can hold, and of what the bus lost."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crosstape.common.bus.topics import LEDGER, TRADES
from crosstape.common.errors import ServiceUnavailable, ValidationFailed
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import Coverage, Gap, GapState
from crosstape.common.testing.builders import make_trade
from crosstape.exchanges.dialect import HistoryPage, HistoryQuery
from crosstape.ingestor import backfill
from crosstape.ingestor.outages import HISTORY_LAG


class Rest:
    def __init__(self, *_: object):
        pass

    async def markets(self) -> list[Instrument]:
        return [Instrument("binance", "BTCUSDT", "BTC", "USDT")]

    async def trade_history(self, query: HistoryQuery) -> AsyncIterator[HistoryPage]:
        trades = [make_trade(number, time=number) for number in (1, 3)]
        refused = [make_trade(2, time=2, price="0"), make_trade(9, time=9, price="0")]
        yield HistoryPage(trades, None, reaches_back=True, refused=refused)


class Producer:
    """Keeps what it is sent, by topic."""

    sent: dict[str, list[Any]]
    loses = ""

    def __init__(self, settings: object, on_loss: Callable[[str], None]):
        type(self).sent = {TRADES.name: [], LEDGER.name: []}
        self._on_loss = on_loss

    async def __aenter__(self) -> Producer:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def send(self, topic: Any, key: bytes, record: Any) -> None:
        self.sent[topic.name].append(record)

    deliver = send

    async def flush(self) -> None:
        if self.loses:
            self._on_loss(self.loses)


async def test_a_trade_that_no_tape_can_hold_is_named_and_the_others_are_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backfill, "ExchangeRest", Rest)
    monkeypatch.setattr(backfill, "Producer", Producer)
    settings = cast(Any, SimpleNamespace(exchange_origin="", bus=None))
    await backfill.backfill(settings, "binance", "BTC-USDT", 1, 5)
    (batch,) = Producer.sent[TRADES.name]
    assert batch.columns().trade_id == [1, 3]
    gap, coverage = Producer.sent[LEDGER.name]
    assert isinstance(gap, Gap)
    assert (gap.start, gap.end, gap.cause, gap.state) == (2, 3, "malformed", GapState.UNFILLABLE)
    assert coverage == Coverage("binance", "BTC-USDT", 1, 5)


async def test_what_the_bus_lost_meanwhile_is_not_called_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "ExchangeRest", Rest)
    monkeypatch.setattr(backfill, "Producer", Producer)
    monkeypatch.setattr(Producer, "loses", "a log started again")
    settings = cast(Any, SimpleNamespace(exchange_origin="", bus=None))
    with pytest.raises(ServiceUnavailable, match="run the backfill again"):
        await backfill.backfill(settings, "binance", "BTC-USDT", 1, 5)
    assert not [event for event in Producer.sent[LEDGER.name] if isinstance(event, Coverage)]


async def test_time_to_come_is_not_vouched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "ExchangeRest", Rest)
    monkeypatch.setattr(backfill, "Producer", Producer)
    settings = cast(Any, SimpleNamespace(exchange_origin="", bus=None))
    now = time.time_ns()
    hour = 3_600 * 10**9
    await backfill.backfill(settings, "binance", "BTC-USDT", now - hour, now + hour)
    (coverage,) = Producer.sent[LEDGER.name]
    assert coverage.start == now - hour
    assert now - hour < coverage.end <= time.time_ns() - HISTORY_LAG
    with pytest.raises(ValidationFailed, match="nothing to fetch yet"):
        await backfill.backfill(settings, "binance", "BTC-USDT", now + hour, now + 2 * hour)
