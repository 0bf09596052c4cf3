"""Values with plain defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.common.symbols import SymbolTables


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
