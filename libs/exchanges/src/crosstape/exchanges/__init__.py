"""Every exchange's dialect, by the exchange's id. ccxt, slow to import, is loaded only by what `ccxt_generic` opens."""

from __future__ import annotations

from crosstape.common.errors import ExchangeNotFound
from crosstape.common.symbols import exchange_id
from crosstape.exchanges.binance import Binance
from crosstape.exchanges.bybit import Bybit
from crosstape.exchanges.coinbasepro import CoinbasePro
from crosstape.exchanges.dialect import Dialect
from crosstape.exchanges.kraken import Kraken
from crosstape.exchanges.okx import Okx

DIALECTS: dict[str, Dialect] = {d.exchange: d for d in (Binance(), Kraken(), CoinbasePro(), Okx(), Bybit())}
"""Native dialects in the order of the contract."""


def dialect_of(exchange: str) -> Dialect:
    """The native dialect of an exchange, by any of its names. Raises ExchangeNotFound."""
    try:
        return DIALECTS[exchange_id(exchange)]
    except KeyError:
        raise ExchangeNotFound(f"Unknown exchange: {exchange[:40]}.", {"exchanges": list(DIALECTS)}) from None
