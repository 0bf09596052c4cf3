"""The stored tape, read as a user reads it, against the simulator's truth."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import aiohttp

from crosstape.common.market.bar import Interval, fold_bars
from crosstape.common.market.trade import TakerSide, Trade, trade_id
from tests.e2e.stack import get


@dataclass(frozen=True)
class Row:
    """A trade as both sides tell it; time in µs, the precision of the API."""

    time: int
    price: Decimal
    quantity: Decimal
    side: str


@dataclass
class Difference:
    """What tells the tape from the truth, by trade id. `explained` are missing ones that the ledger names."""

    stored: int = 0
    truth: int = 0
    missing: set[str] = field(default_factory=set)
    explained: set[str] = field(default_factory=set)
    invented: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)

    @property
    def is_settled(self) -> bool:
        """The tape is the truth, or the ledger names exactly what it lacks."""
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


def compare(stored: dict[str, Row], truth: dict[str, Row], ledger: dict[str, Any]) -> Difference:
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
        explained={trade_id for trade_id in missing if _is_explained(trade_id, promised[trade_id], ledger)},
        invented=set(stored.keys() - truth.keys()),
        changed={trade_id for trade_id in stored.keys() & truth.keys() if stored[trade_id] != truth[trade_id]},
    )


def _is_explained(trade_id: str, row: Row, ledger: dict[str, Any]) -> bool:
    """Numbered trades by the ranges of missing ids, others by a minute that the ledger calls a gap."""
    if trade_id.isdigit() and any(first <= int(trade_id) <= last for first, last in ledger["missing_ids"]):
        return True
    minute = row.time // 60_000_000 * 60
    return any(entry["status"] == "gap" and entry["timestamp"] == minute for entry in ledger["minutes"])
