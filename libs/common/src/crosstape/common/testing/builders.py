"""Values with plain defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.common.symbols import SymbolTables

UNSOUND: Sequence[tuple[str, dict[str, Any]]] = (
    ("price", {"price": "-1"}),
    ("price", {"price": "NaN"}),
    ("price", {"price": "1e5"}),
    ("price", {"price": "+5"}),
    ("price", {"price": ".5"}),
    ("price", {"price": "5."}),
    ("price", {"price": "1." + "0" * 25}),
    ("price", {"price": "0" * 30 + "1"}),
    ("price", {"price": ""}),
    ("price", {"price": "\uff11"}),
    ("quantity", {"quantity": "0.000"}),
    ("quantity", {"quantity": "1" * 40}),
    ("time", {"time": 0}),
    ("time", {"time": 2**62}),
    ("time", {"time": 1_751_328_001_000_000}),
    ("time_received", {"time_received": -1}),
    ("side", {"side": 2}),
    ("trade_id", {"trade_id": -5}),
    ("trade_id", {"trade_id": ""}),
    ("trade_id", {"trade_id": "a\x00b"}),
    ("trade_id", {"trade_id": "a" * 129}),
)
"""What makes a trade one that no tape holds, and the field that is wrong."""


def make_trade(trade_id: int | str = 1, **fields: Any) -> Trade:
    """A taker buy of 1 BTC at 60000 USDT on binance, one second after 2025-07-01T00:00:00Z, but for `fields`."""
    values: dict[str, Any] = {
        "exchange": "binance",
        "symbol": "BTC-USDT",
        "trade_id": trade_id,
        "time": 1_751_328_001_000_000_000,
        "price": "60000",
        "quantity": "1",
        "side": TakerSide.BUY,
        "time_received": 1_751_328_001_050_000_000,
    }
    return Trade(**(values | fields))


def symbol_tables(lists: Mapping[str, Sequence[Instrument]]) -> SymbolTables:
    """The tables of these exchanges, all of them known."""
    tables = SymbolTables()
    tables.exchanges = list(lists)
    for exchange, instruments in lists.items():
        tables.put(exchange, instruments)
    return tables
