"""How long an exchange is waited for."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar, cast

import pytest

from crosstape.common.errors import ExchangeError
from crosstape.common.market.bar import Interval
from crosstape.common.market.instrument import Instrument
from crosstape.exchanges.dialect import Klines
from crosstape.history import exchanges as module
from crosstape.history.exchanges import Exchanges

TIMEOUT = 30.0


class _Silent:
    """An exchange that takes every question and answers none."""

    async def markets(self) -> list[Instrument]:
        await asyncio.Event().wait()
        return []

    async def klines(self, instrument: Instrument, interval: Interval, start: int, end: int) -> Klines:
        await asyncio.Event().wait()
        return Klines([], start)

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("exchange", ["binance", "gate"], ids=["a dialect's", "ccxt's"])
async def test_an_exchange_that_does_not_answer_is_an_error_in_time(
    exchange: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = cast(Any, _Silent())
    monkeypatch.setattr(module, "REQUEST_SECONDS", 0.01)
    monkeypatch.setattr(module, "open_exchange", lambda exchange: silent)
    monkeypatch.setattr(module, "ExchangeRest", lambda *settings, **more: silent)
    asked = Exchanges("")
    instrument = Instrument(exchange, "BTCUSDT", "BTC", "USDT")
    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(ExchangeError, match=f"{exchange} did not answer"):
            await asked.markets(exchange, 0.01)
        with pytest.raises(ExchangeError, match=f"{exchange} did not answer"):
            await asked.klines(instrument, Interval.M1, 0, 60_000)
    await asked.close()


class _Listing(_Silent):
    """An exchange without markets, which tells `closed` when it is closed."""

    closed: ClassVar[list[str]] = []

    def __init__(self, exchange: str):
        self.exchange = exchange

    async def markets(self) -> list[Instrument]:
        return []

    async def close(self) -> None:
        self.closed.append(self.exchange)
        await asyncio.sleep(0)
        if self.exchange == "mexc":
            raise OSError("closed already")


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the clients that were closed."""
    monkeypatch.setattr(_Listing, "closed", [])
    monkeypatch.setattr(module, "open_exchange", _Listing)
    return _Listing.closed


async def test_a_client_that_nobody_uses_for_long_is_closed(monkeypatch: pytest.MonkeyPatch, closed: list[str]) -> None:
    asked = Exchanges("")
    await asked.markets("gate", 1.0)
    await asked.markets("mexc", 1.0)
    assert closed == []
    monkeypatch.setattr(module, "UNUSED_SECONDS", 0.0)
    await asked.markets("htx", 1.0)
    assert closed == ["gate", "mexc"]
    await asked.close()
    assert closed == ["gate", "mexc", "htx"]


async def test_who_ask_at_the_same_time_close_each_unused_client_once(
    monkeypatch: pytest.MonkeyPatch, closed: list[str]
) -> None:
    monkeypatch.setattr(module, "ExchangeRest", lambda *settings, **more: _Listing("binance"))
    asked = Exchanges("")
    for exchange in ("gate", "mexc", "htx"):
        await asked.markets(exchange, 1.0)
    monkeypatch.setattr(module, "UNUSED_SECONDS", 0.0)
    assert await asyncio.gather(*(asked.markets("binance", 1.0) for _ in range(3))) == [[], [], []]
    assert sorted(closed) == ["gate", "htx", "mexc"]
    await asked.close()
