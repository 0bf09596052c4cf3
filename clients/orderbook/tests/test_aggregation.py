"""The aggregation: which exchanges it waits for."""

from __future__ import annotations

from crosstape.common.symbols import EXCHANGE_ALIASES
from crosstape.orderbook.aggregation import OTHER_NAMES, Aggregation


def test_an_exchange_is_waited_for_under_the_name_its_book_comes_under() -> None:
    assert OTHER_NAMES == EXCHANGE_ALIASES
    assert Aggregation("ETH-USD", ["CoinbaseExchange", "coinbase", "okx"]).exchanges == ["coinbasepro", "okx"]
