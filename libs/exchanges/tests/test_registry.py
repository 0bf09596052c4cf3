"""Exchanges are found by every name the contract gives them, and every row of their table is pure and independent."""

from __future__ import annotations

import grimp
import pytest
from grimp import ImportGraph

from crosstape.common.errors import ExchangeNotFound
from crosstape.common.market.instrument import Instrument
from crosstape.common.symbols import SymbolTable
from crosstape.exchanges import DIALECTS, dialect_of

IMPURE = {"aiohttp", "aiokafka", "asyncio", "clickhouse_connect", "fastapi", "picows", "time"}


def test_dialects_are_listed_in_the_order_of_the_contract():
    assert list(DIALECTS)[:5] == ["binance", "kraken", "coinbasepro", "okx", "bybit"]
    assert all(name == dialect.exchange for name, dialect in DIALECTS.items())


@pytest.fixture(scope="module")
def imports() -> ImportGraph:
    return grimp.build_graph("crosstape.exchanges", "crosstape.common", include_external_packages=True, cache_dir=None)


@pytest.mark.parametrize("exchange", DIALECTS)
def test_a_dialect_does_no_io_and_knows_no_clock_and_no_other_dialect(exchange: str, imports: ImportGraph):
    own = _module(exchange)
    others = {_module(name) for name in DIALECTS} - {own}
    for forbidden in sorted(others | IMPURE & imports.modules):
        chain = imports.find_shortest_chain(importer=own, imported=forbidden, as_packages=True)
        assert chain is None, " imports ".join(chain)


def test_what_does_io_is_seen(imports: ImportGraph):
    assert imports.find_shortest_chain(importer="crosstape.exchanges.rest", imported="aiohttp", as_packages=True)


def _module(exchange: str) -> str:
    """`crosstape.exchanges.kraken`: the module of a dialect, or its folder."""
    return ".".join(type(DIALECTS[exchange]).__module__.split(".")[:3])


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
