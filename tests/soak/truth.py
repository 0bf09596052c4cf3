"""The simulators' truth, gathered while they still know it, and the stored tape against it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp

from tests.e2e.stack import get
from tests.e2e.tape import Difference, Row, audit, bar_facts, bars_of, compare, stored_bars, stored_trades, true_trades

SHOWN = 5
SIDES = {"buy": 1, "sell": -1}


@dataclass
class MarketTruth:
    """One market and everything that ever happened in it."""

    listed: dict[str, Any]
    trades: dict[str, Row] = field(default_factory=dict)
    tape: dict[str, Row] = field(default_factory=dict)
    difference: Difference = field(default_factory=Difference)
    are_bars_right: bool = False
    failure: str = ""

    @property
    def exchange(self) -> str:
        return str(self.listed["exchange"])

    @property
    def symbol(self) -> str:
        """Canonical."""
        perpetual = ".P" if self.listed["kind"] == "perpetual" else ""
        return f"{self.listed['base']}-{self.listed['quote']}{perpetual}"

    def times(self) -> dict[str, float]:
        """Of every stored trade, in Unix seconds."""
        return {trade_id: row.time / 1_000_000 for trade_id, row in self.tape.items()}

    @property
    def is_settled(self) -> bool:
        return self.difference.is_settled and self.are_bars_right

    def describe(self) -> str:
        """What is wrong, in one line."""
        one = self.difference
        unexplained = sorted(one.missing - one.explained)
        return (
            f"{self.exchange} {self.symbol}: {len(unexplained)} lack {unexplained[:SHOWN]}, "
            f"{len(one.invented)} invented {sorted(one.invented)[:SHOWN]}, "
            f"{len(one.changed)} changed {sorted(one.changed)[:SHOWN]}"
            f"{'' if self.are_bars_right else ', bars differ'}{self.failure and ', ' + self.failure}"
        )


class Truth:
    """All markets that trade. The simulator forgets old trades, so `gather` is called while the soak goes on."""

    def __init__(self, session: aiohttp.ClientSession, simulator: str, history: str):
        self._session = session
        self._simulator = simulator
        self._history = history
        self.markets: list[MarketTruth] = []
        self.made_before = 0

    @property
    def made(self) -> int:
        """Trades that are known to have happened."""
        return sum(len(market.trades) for market in self.markets)

    async def open(self) -> None:
        """Learn which markets trade, and what happened in them so far."""
        listed = await get(self._session, f"{self._simulator}/_truth/markets")
        self.markets = [MarketTruth(market) for market in listed if market["is_active"]]
        await self.gather()
        self.made_before = self.made

    async def gather(self) -> None:
        """Take in what happened since the last call."""
        for market in self.markets:
            newest = next(reversed(market.trades), "")
            market.trades |= await true_trades(self._session, self._simulator, market.listed, since=newest)

    async def stats(self) -> dict[str, Any]:
        """What the simulator counts."""
        counted: dict[str, Any] = await get(self._session, f"{self._simulator}/_truth/stats")
        return counted

    async def calm(self) -> None:
        """No more faults."""
        await self._session.post(f"{self._simulator}/_faults", json={})

    async def pause(self) -> None:
        """No more trades."""
        await self._session.post(f"{self._simulator}/_truth/pause")

    async def settle(self, seconds: float) -> None:
        """Compare every market until all agree, or for `seconds`."""
        end = time.monotonic() + seconds
        while waiting := [market for market in self.markets if market.trades and not market.is_settled]:
            for market in waiting:
                try:
                    await self._compare(market)
                except AssertionError as error:  # an id twice, or a status that is not 200
                    market.failure = str(error).splitlines()[0]
            if time.monotonic() > end:
                return
            await asyncio.sleep(1.0)

    async def _compare(self, market: MarketTruth) -> None:
        exchange, symbol = market.exchange, market.symbol
        market.failure = ""
        since = str(min(row.time for row in market.trades.values()) // 1_000_000)
        market.tape = await stored_trades(self._session, self._history, exchange, symbol)
        url = f"{self._history}/api/v1/completeness/{exchange}/{symbol}"
        ledger = await get(self._session, url, start=since, limit="10000")
        market.difference = compare(exchange, market.tape, market.trades, ledger)
        bars = await stored_bars(self._session, self._history, exchange, symbol)
        market.are_bars_right = bar_facts(bars) == bars_of(exchange, symbol, market.tape)

    async def verify(self) -> list[str]:
        """What `crosstape verify` asks history, of every market: whose stored bars are not what their trades say."""
        wrong: list[str] = []
        for market in self.markets:
            if not market.trades:
                continue
            report = await audit(self._session, self._history, market.exchange, market.symbol)
            if report.get("result") != "ok":
                wrong.append(f"{market.exchange} {market.symbol}: {str(report)[:300]}")
        return wrong


def delta(tape: dict[str, Row]) -> Decimal:
    """The volume delta of all trades."""
    return sum((SIDES.get(row.side, 0) * row.quantity for row in tape.values()), Decimal(0))


def find(markets: Sequence[MarketTruth], exchange: str, symbol: str) -> MarketTruth:
    """The market of that name."""
    return next(market for market in markets if (market.exchange, market.symbol) == (exchange, symbol))
