"""How long an exchange is waited for."""

from __future__ import annotations

import asyncio
from typing import Any, cast

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
