"""The stored tape, read as a user reads it, against the simulator's truth."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from crosstape.common.market.bar import Interval, fold_bars
from crosstape.common.market.trade import TakerSide, Trade, trade_id
from crosstape.common.testing.identity import own_headers
from tests.e2e.stack import get

GAPS = "crosstape_ingestor_gaps_total"
WITHOUT_NUMBERS = ("bybit",)
"""Exchanges whose trade ids do not count the trades, and whose history has only the newest."""


@dataclass(frozen=True)
class Row:
    """A trade as both sides tell it; time in µs, the precision of the API."""

    time: int
    price: Decimal
    quantity: Decimal
    side: str


@dataclass
class Difference:
    """What tells the tape from the truth, by trade id.

    `explained` are missing ones of an exchange WITHOUT_NUMBERS, in a minute that the ledger calls a gap. A number that
    lacks is never explained: the exchange still has its trade, so a repair would have fetched it.
    """

    stored: int = 0
    truth: int = 0
    missing: set[str] = field(default_factory=set)
    explained: set[str] = field(default_factory=set)
    invented: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)

    @property
    def is_settled(self) -> bool:
        """The tape is the truth, or the ledger says of what it lacks why that could not be had."""
        return self.stored > 0 and not self.invented and not self.changed and self.missing == self.explained


async def stored_trades(session: aiohttp.ClientSession, history: str, exchange: str, symbol: str) -> dict[str, Row]:
    """Every trade of a market, by id; fails when an id comes twice."""
    rows: dict[str, Row] = {}
    parameters = {"limit": "10000", "start": "2020-01-01T00:00:00Z", "numbers": "string"}
    while True:
        page = await get(session, f"{history}/api/v1/trades/{exchange}/{symbol}", **parameters)
        for trade in page["trades"]:
            trade_id = str(trade["trade_id"])
            assert trade_id not in rows, f"{exchange} {symbol} has trade {trade_id} twice"
            rows[trade_id] = Row(
                round(Decimal(trade["timestamp"]) * 1_000_000),
                Decimal(trade["price"]),
                Decimal(trade["quantity"]),
                trade["side"],
            )
        if page["next_cursor"] is None:
            return rows
        parameters["cursor"] = page["next_cursor"]


async def true_trades(
    session: aiohttp.ClientSession, simulator: str, market: dict[str, Any], *, since: str = ""
) -> dict[str, Row]:
    """Every trade the simulator still knows of `market` (one of `/_truth/markets`), by id; from the id `since` on."""
    url = f"{simulator}/_truth/{market['exchange']}/{market['symbol']}/trades"
    begin = {"from_id": since} if since else {}
    trades = await get(session, url, kind=market["kind"], limit="1000000", **begin)
    base = Decimal(market["contract_value"])
    return {
        trade["trade_id"]: Row(
            trade["time_ns"] // 1_000, Decimal(trade["price"]), Decimal(trade["quantity"]) * base, trade["side"]
        )
        for trade in trades
    }


async def stored_bars(session: aiohttp.ClientSession, history: str, exchange: str, symbol: str) -> list[dict[str, Any]]:
    """Every minute bar of a market, oldest first, numbers as strings."""
    url = f"{history}/api/v1/ohlcv/{exchange}/{symbol}"
    answer = await get(session, url, start="2020-01-01T00:00:00Z", numbers="string", limit="10000")
    bars: list[dict[str, Any]] = answer["bars"]
    return bars


def bars_of(exchange: str, symbol: str, tape: dict[str, Row]) -> list[tuple[Any, ...]]:
    """What `bar_facts` of the stored bars must be: the definition of a bar, applied to the tape."""
    sides = {"buy": TakerSide.BUY, "sell": TakerSide.SELL, "unknown": TakerSide.UNKNOWN}
    trades = [
        Trade(exchange, symbol, trade_id(i), row.time * 1_000, str(row.price), str(row.quantity), sides[row.side], 0)
        for i, row in tape.items()
    ]
    return [
        (
            bar.open_time,
            bar.trades,
            *map(Decimal, (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.volume_delta)),
        )
        for bar in fold_bars(trades, Interval.M1)
    ]


def bar_facts(bars: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """The same of bars as the API tells them."""
    names = ("open", "high", "low", "close", "volume", "volume_delta")
    return [(bar["timestamp"], bar["trades"], *(Decimal(bar[name]) for name in names)) for bar in bars]


def compare(exchange: str, stored: dict[str, Row], truth: dict[str, Row], ledger: dict[str, Any]) -> Difference:
    """From the first trade on that the tape has: what came before nobody promised."""
    if not stored:
        return Difference()
    first = min(row.time for trade_id, row in truth.items() if trade_id in stored) if stored.keys() & truth else 0
    promised = {trade_id: row for trade_id, row in truth.items() if row.time > first or trade_id in stored}
    missing = promised.keys() - stored.keys()
    return Difference(
        stored=len(stored),
        truth=len(promised),
        missing=set(missing),
        explained={one for one in missing if exchange in WITHOUT_NUMBERS and _is_in_gap(promised[one], ledger)},
        invented=set(stored.keys() - truth.keys()),
        changed={trade_id for trade_id in stored.keys() & truth.keys() if stored[trade_id] != truth[trade_id]},
    )


def _is_in_gap(row: Row, ledger: dict[str, Any]) -> bool:
    minute = row.time // 60_000_000 * 60
    return any(entry["status"] == "gap" and entry["timestamp"] == minute for entry in ledger["minutes"])


async def audit(
    session: aiohttp.ClientSession, history: str, exchange: str, symbol: str, **span: str
) -> dict[str, Any]:
    """The report that `crosstape verify` ends with: whether every closed bar stored is what its trades say."""
    url = f"{history}/internal/verify/{exchange}/{symbol}"
    async with session.get(url, params=span, headers=own_headers("history")) as response:
        report: dict[str, Any] = json.loads((await response.text()).splitlines()[-1])
    return report


async def repaired(session: aiohttp.ClientSession, ingestor: str) -> Counter[str]:
    """How many gaps an ingestor has repaired since its start, by their cause."""
    async with session.get(f"{ingestor}/metrics") as response:
        families = text_string_to_metric_families(await response.text())
    gaps = (sample for family in families for sample in family.samples if sample.name == GAPS)
    return Counter({gap.labels["cause"]: int(gap.value) for gap in gaps if gap.labels["state"] == "repaired"})
