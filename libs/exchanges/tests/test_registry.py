"""Exchanges are found by every name the contract gives them."""

from __future__ import annotations

import pytest

from crosstape.common.errors import ExchangeNotFound
from crosstape.common.market.instrument import Instrument
from crosstape.common.symbols import SymbolTable
from crosstape.exchanges import DIALECTS, dialect_of


def test_dialects_are_listed_in_the_order_of_the_contract():
    assert list(DIALECTS) == ["binance", "kraken", "coinbasepro", "okx", "bybit"]
    assert all(name == dialect.exchange for name, dialect in DIALECTS.items())


@pytest.mark.parametrize("name", ["coinbase", "coinbasepro", "Coinbase", "COINBASEPRO"])
def test_coinbase_has_two_names(name):
    assert dialect_of(name).exchange == "coinbasepro"


@pytest.mark.parametrize("name", ["", "mtgox", "../binance", "x" * 10_000])
def test_an_unknown_exchange_is_not_found_and_its_name_is_cut(name):
    with pytest.raises(ExchangeNotFound) as error:
        dialect_of(name)
    assert len(error.value.message) < 100


@pytest.mark.parametrize("spelling", ["XBT/USD", "XXBTZUSD", "XBTUSD", "BTC/USD", "btc-usd", "KRAKEN:BTCUSD"])
def test_krakens_bitcoin_is_found_by_every_spelling(spelling):
    body = (
        b'{"error":[],"result":{"XXBTZUSD":{"altname":"XBTUSD","wsname":"XBT/USD","pair_decimals":1,"lot_decimals":8}}}'
    )
    table = SymbolTable("kraken", DIALECTS["kraken"].decode_markets([body]))
    instrument = table.resolve(spelling).instrument
    assert isinstance(instrument, Instrument)
    assert (instrument.symbol, instrument.exchange_symbol) == ("BTC-USD", "XBTUSD")
