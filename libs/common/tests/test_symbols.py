"""Every spelling of an instrument leads to it; what leads nowhere is answered with what it may have meant."""

import difflib
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.errors import ExchangeNotFound, ServiceUnavailable, SymbolNotFound, ValidationFailed
from crosstape.common.likeness import COMPARED, Lookalikes
from crosstape.common.market.instrument import Instrument, Kind, split_symbol
from crosstape.common.symbols import (
    SUGGESTIONS,
    Resolution,
    SymbolTable,
    SymbolTables,
    exchange_id,
    split_tradingview,
)

PERPETUAL = Kind.PERPETUAL

binance = SymbolTable(
    "binance",
    [
        Instrument("binance", "BTCUSDT", "BTC", "USDT"),
        Instrument("binance", "ETHUSDT", "ETH", "USDT"),
        Instrument("binance", "ETHBTC", "ETH", "BTC"),
        Instrument("binance", "BTCUSDT", "BTC", "USDT", PERPETUAL),
        Instrument("binance", "1000PEPEUSDT", "1000PEPE", "USDT", PERPETUAL),
        Instrument("binance", "币安人生USDT", "币安人生", "USDT"),
    ],
)
kraken = SymbolTable(
    "kraken",
    [
        Instrument("kraken", "XBTUSD", "BTC", "USD", stream_symbol="BTC/USD", aliases=("XBT/USD", "XXBTZUSD")),
        Instrument("kraken", "XBTUSDT", "BTC", "USDT", stream_symbol="BTC/USDT", aliases=("XBT/USDT",)),
        Instrument("kraken", "ETHUSD", "ETH", "USD", stream_symbol="ETH/USD", aliases=("XETHZUSD",)),
    ],
)
okx = SymbolTable(
    "okx",
    [
        Instrument("okx", "BTC-USDT", "BTC", "USDT"),
        Instrument("okx", "BTC-USDT-SWAP", "BTC", "USDT", PERPETUAL),
        Instrument("okx", "BTC-USD-SWAP", "BTC", "USD", PERPETUAL),
    ],
)
coinbase = SymbolTable("coinbasepro", [Instrument("coinbasepro", "BTC-USD", "BTC", "USD")])

SPELLINGS = [
    *[(binance, text, "BTC-USDT") for text in ("BTC-USDT", "btc-usdt", "BTCUSDT", "btcusdt", "BTC/USDT", " btcUSDT ")],
    *[(binance, text, "BTC-USDT") for text in ("BINANCE:BTCUSDT", "binance:btcusdt", "BINANCE:BTC-USDT")],
    *[(binance, text, "BTC-USDT.P") for text in ("BTC-USDT.P", "BTC/USDT:USDT", "btc/usdt:usdt", "BINANCE:BTCUSDT.P")],
    *[(binance, text, "BTC-USDT.P") for text in ("BTCUSDT.P", "binance:btc-usdt.p", "BINANCE:BTC/USDT:USDT")],
    (binance, "1000pepeusdt", "1000PEPE-USDT.P"),
    *[(binance, text, "币安人生-USDT") for text in ("币安人生USDT", "币安人生-usdt", "BINANCE:币安人生USDT")],
    *[(kraken, text, "BTC-USD") for text in ("XBT/USD", "xbt/usd", "BTC/USD", "XBTUSD", "XXBTZUSD", "BTC-USD")],
    *[(kraken, text, "BTC-USD") for text in ("KRAKEN:BTCUSD", "KRAKEN:XBTUSD")],
    *[(okx, text, "BTC-USDT") for text in ("BTC-USDT", "btc-usdt", "BTC/USDT", "OKX:BTCUSDT", "OKX:BTC-USDT")],
    *[(okx, text, "BTC-USDT.P") for text in ("BTC-USDT-SWAP", "btc-usdt-swap", "BTC/USDT:USDT", "OKX:BTCUSDT.P")],
    *[(coinbase, text, "BTC-USD") for text in ("BTC-USD", "COINBASE:BTCUSD", "coinbasepro:btc-usd", "BTC/USD")],
]  # fmt: skip


@pytest.mark.parametrize(("table", "text", "symbol"), SPELLINGS, ids=lambda part: getattr(part, "exchange", part))
def test_a_spelling_names_its_instrument(table: SymbolTable, text: str, symbol: str) -> None:
    resolution = table.resolve(text)
    assert (resolution.instrument.symbol, resolution.quote_alias) == (symbol, None)


@pytest.mark.parametrize("text", ["BTC-USD", "btc/usd", "BINANCE:BTC-USD"])
def test_usd_finds_the_usdt_market_where_there_is_no_usd_one_and_says_so(text: str) -> None:
    resolution = binance.resolve(text)
    assert (resolution.instrument.symbol, resolution.quote_alias) == ("BTC-USDT", "USDT")


def test_usd_of_a_perpetual_finds_the_usdt_perpetual() -> None:
    resolution = binance.resolve("BTC-USD.P")
    assert (resolution.instrument.symbol, resolution.quote_alias) == ("BTC-USDT.P", "USDT")


def test_a_real_usd_market_is_answered_as_itself() -> None:
    assert kraken.resolve("BTC-USD") == Resolution(kraken.instruments[0])
    assert okx.resolve("BTC-USD.P") == Resolution(okx.instruments[2])


def test_no_other_quote_is_ever_stood_in_for() -> None:
    for text in ("BTC-EUR", "ETH-USDC", "DOGE-USD"):
        with pytest.raises(SymbolNotFound):
            binance.resolve(text)


def test_where_spot_and_linear_share_the_exchanges_spelling_it_means_spot() -> None:
    bybit = SymbolTable(
        "bybit",
        [
            Instrument("bybit", "BTCUSDT", "BTC", "USDT", PERPETUAL),
            Instrument("bybit", "BTCUSDT", "BTC", "USDT"),
            Instrument("bybit", "SOLUSDT", "SOL", "USDT", PERPETUAL),
        ],
    )
    assert bybit.resolve("BTCUSDT").instrument.kind is Kind.SPOT
    assert bybit.resolve("BYBIT:BTCUSDT.P").instrument.kind is PERPETUAL
    assert bybit.resolve("SOLUSDT").instrument.symbol == "SOL-USDT.P"


def test_the_exchanges_own_spelling_wins_over_one_made_of_base_and_quote() -> None:
    table = SymbolTable("binance", [Instrument("binance", "AB_C", "AB", "C"), Instrument("binance", "ABC", "A", "BC")])
    assert table.resolve("ABC").instrument.symbol == "A-BC"
    assert table.resolve("AB/C").instrument.symbol == "AB-C"


def test_an_ambiguous_spelling_is_refused_with_the_names_to_choose_from() -> None:
    table = SymbolTable("okx", [Instrument("okx", "AB-C", "AB", "C"), Instrument("okx", "A-BC", "A", "BC")])
    with pytest.raises(SymbolNotFound, match="ambiguous") as caught:
        table.resolve("ABC")
    assert caught.value.details == {"suggestions": ["A-BC", "AB-C"]}


def test_two_markets_of_one_canonical_symbol_are_told_apart_by_the_exchanges_spelling() -> None:
    table = SymbolTable(
        "okx", [Instrument("okx", name, "BTC", "USD", PERPETUAL) for name in ("BTC-USD-SWAP", "BTC-USD_UM-SWAP")]
    )
    with pytest.raises(SymbolNotFound) as caught:
        table.resolve("BTC-USD.P")
    assert caught.value.details == {"suggestions": ["BTC-USD-SWAP", "BTC-USD_UM-SWAP"]}
    assert table.resolve("BTC-USD-SWAP").instrument is table.instruments[0]


def test_an_exchange_whose_own_spelling_has_a_colon_is_understood() -> None:
    table = SymbolTable("bitfinex", [Instrument("bitfinex", "tBTCF0:USTF0", "BTC", "USDT", PERPETUAL)])
    assert table.resolve("tBTCF0:USTF0").instrument.symbol == "BTC-USDT.P"
    assert table.resolve("BITFINEX:tBTCF0:USTF0").instrument.symbol == "BTC-USDT.P"


def test_another_exchanges_prefix_is_refused() -> None:
    with pytest.raises(SymbolNotFound, match="names exchange kraken, not binance"):
        binance.resolve("KRAKEN:BTCUSDT")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "B" * 65,
        "BTC\nUSDT",
        "BTC\x00USDT",
        "\ud800",
        "\u202eBTC",
        "x" * 10_000,
    ],
)
def test_a_text_that_no_symbol_can_be_is_a_validation_error(text: str) -> None:
    with pytest.raises(ValidationFailed):
        binance.resolve(text)


@pytest.mark.parametrize(
    "text",
    [
        *(" ", ":", ".P", "-", "../etc/passwd", "%2f", "' OR 1=1", "BTC-", "-USD", "/USD", "USD", "a:b:c"),
        *("ВТСUSDT", "BTC😀", "ＢＴＣＵＳＤＴ"),
    ],
)
def test_a_hostile_text_is_a_symbol_not_found(text: str) -> None:
    with pytest.raises(SymbolNotFound) as caught:
        binance.resolve(text)
    assert caught.value.status == 404
    assert len(caught.value.details["suggestions"]) <= SUGGESTIONS


@pytest.mark.parametrize(
    ("text", "near"), [("BTCUSDX", "BTC-USDT"), ("ETH-BTS", "ETH-BTC"), ("1000PEPE-USDT", "1000PEPE-USDT.P")]
)
def test_a_misspelt_symbol_is_answered_with_the_nearest(text: str, near: str) -> None:
    with pytest.raises(SymbolNotFound) as caught:
        binance.resolve(text)
    assert near in caught.value.details["suggestions"]
    assert len(caught.value.details["suggestions"]) <= SUGGESTIONS


def table_of(exchange: str, count: int) -> SymbolTable:
    """Of `count` currencies in four markets each."""
    return SymbolTable(exchange, markets_of(exchange, count))


def markets_of(exchange: str, count: int) -> list[Instrument]:
    return [
        Instrument(exchange, f"T{n:03X}{quote}", f"T{n:03X}", quote, kind)
        for n in range(count)
        for quote in ("USDT", "BTC")
        for kind in Kind
    ]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many words were compared letter by letter, each time any were."""
    found: list[int] = []
    compare = difflib.get_close_matches

    def counting(word: str, possibilities: list[str], *args: Any, **kwargs: Any) -> list[str]:
        found.append(len(possibilities))
        return compare(word, possibilities, *args, **kwargs)

    monkeypatch.setattr(difflib, "get_close_matches", counting)
    return found


def test_suggesting_among_thousands_of_markets_does_not_hold_up_the_event_loop(compared: list[int]) -> None:
    table = table_of("binance", 600)
    table.suggest("T0FUSDX")
    started = time.thread_time()  # other threads of this process are none of its cost
    for n in range(100):
        table.suggest(f"T{n:02X}USDX")
    assert time.thread_time() - started < 0.5
    assert max(compared) <= COMPARED


def test_who_asks_again_is_answered_from_memory(compared: list[int]) -> None:
    table = table_of("binance", 10)
    first = table.suggest("T00FUSDX")
    first_copy = list(first)
    first.clear()
    assert table.suggest("binance:t00f-usdx") == first_copy
    assert len(compared) == 1


@pytest.mark.parametrize("text", ["T2AUSDT", "T02AUSD", "T2OABTC", "X1FFUSDT", "1TFFUSDT", "T1FFBCT", "FFUSDT"])
def test_among_thousands_what_is_suggested_first_is_as_near_as_any(text: str) -> None:
    words = [f"T{n:03X}{quote}" for n in range(600) for quote in ("USDT", "BTC")]
    found, nearest = (near[0] for near in (Lookalikes(words).nearest(text, 5), difflib.get_close_matches(text, words)))
    assert difflib.SequenceMatcher(None, found, text).ratio() == difflib.SequenceMatcher(None, nearest, text).ratio()


codes = st.sampled_from(["A", "B", "AB", "BA", "USD", "USDT", "T", "X1", "币安人生"])
instruments = st.builds(
    lambda base, quote, kind, style: Instrument(
        "okx", style.format(base=base, quote=quote), base, quote, kind, aliases=(f"{base}_{quote}_{kind}",)
    ),
    codes,
    codes,
    st.sampled_from(Kind),
    st.sampled_from(["{base}{quote}", "{base}-{quote}", "{base}_{quote}", "{base}-{quote}-SWAP", "t{base}:{quote}"]),
)


def claims(instrument: Instrument) -> dict[str, tuple[bool, bool, int]]:
    """Spellings of `instrument`, from the contract's page, and how good its claim to each is (less is better)."""
    base, quote = instrument.base, instrument.quote
    is_spot = instrument.kind is Kind.SPOT
    made = [f"{base}/{quote}", f"{base}{quote}"] if is_spot else [f"{base}/{quote}:{quote}", f"{base}{quote}.P"]
    own = [instrument.exchange_symbol, *instrument.aliases]
    return (
        {text.upper(): (True, not is_spot, 2) for text in made}
        | {text.upper(): (True, not is_spot, 1) for text in own}
        | {instrument.symbol: (False, not is_spot, 0)}
    )


@given(st.lists(instruments, min_size=1, max_size=6, unique_by=lambda i: i.symbol), st.booleans(), st.booleans())
def test_every_spelling_leads_back_to_its_instrument_or_to_one_with_a_better_claim_or_is_ambiguous(
    listed: list[Instrument], lower: bool, with_prefix: bool
) -> None:
    table = SymbolTable("okx", listed)
    for instrument in listed:
        for spelling, claim in claims(instrument).items():
            text = f"OKX:{spelling}" if with_prefix else spelling
            try:
                resolution = table.resolve(text.lower() if lower else text)
            except SymbolNotFound as error:
                assert "ambiguous" in error.message
                assert claim[0], "a canonical symbol is never ambiguous"
                continue
            assert resolution.quote_alias is None
            if resolution.instrument != instrument:
                assert claims(resolution.instrument)[spelling] < claim


@given(st.lists(instruments, max_size=6, unique_by=lambda i: i.symbol), st.text(max_size=70))
def test_any_text_is_resolved_or_refused_as_the_callers_mistake(listed: list[Instrument], text: str) -> None:
    with suppress(SymbolNotFound, ValidationFailed):
        SymbolTable("okx", listed).resolve(text)


def test_exchanges_have_further_names() -> None:
    assert [exchange_id(text) for text in ("coinbase", " Coinbase ", "COINBASEPRO", "Binance")] == [
        *["coinbasepro"] * 3,
        "binance",
    ]


@pytest.mark.parametrize(
    ("text", "split"),
    [
        ("BINANCE:BTCUSDT.P", ("binance", "BTCUSDT.P")),
        ("BTCUSDT", (None, "BTCUSDT")),
        ("BTC/USDT:USDT", (None, "BTC/USDT:USDT")),
        ("BTC-USDT:USDT", (None, "BTC-USDT:USDT")),
        ("COINBASE:BTCUSD", ("coinbasepro", "BTCUSD")),
        (":BTC", (None, ":BTC")),
    ],
)
def test_a_tradingview_prefix_is_an_exchange(text: str, split: tuple[str | None, str]) -> None:
    assert split_tradingview(text) == split


def two_lists_of_three() -> SymbolTables:
    tables = SymbolTables()
    tables.exchanges = ["coinbasepro", "kraken", "okx"]
    tables.put("kraken", [Instrument("kraken", "XBTUSD", "BTC", "USD"), Instrument("kraken", "ETHUSD", "ETH", "USD")])
    tables.put("coinbasepro", [Instrument("coinbasepro", "BTC-USD", "BTC", "USD")])
    return tables


def test_a_symbol_is_found_on_every_exchange_that_has_it() -> None:
    tables = two_lists_of_three()
    assert [found.instrument.exchange for found in tables.everywhere("btc-usd")] == ["coinbasepro", "kraken"]
    assert [found.instrument.exchange for found in tables.everywhere("ETH/USD")] == ["kraken"]
    with pytest.raises(SymbolNotFound) as refusal:
        tables.everywhere("ETJ-USD")
    assert set(refusal.value.details["suggestions"]) == {"BTC-USD", "ETH-USD"}


@pytest.mark.parametrize("text", ["BTC-USD", "xbtusd", "XBT/USD", "btcusd"])
def test_one_exchanges_spelling_finds_the_same_market_of_all(text: str) -> None:
    tables = two_lists_of_three()
    tables.put("kraken", [Instrument("kraken", "XBTUSD", "BTC", "USD", aliases=("XBT/USD",))])
    tables.put("okx", [Instrument("okx", "BTC-USDT", "BTC", "USDT")])
    found = {one.instrument.exchange: one.quote_alias for one in tables.everywhere(text)}
    assert found == {"coinbasepro": None, "kraken": None, "okx": "USDT"}


def test_a_spelling_with_its_exchange_is_of_that_one_alone() -> None:
    assert [found.instrument.exchange for found in two_lists_of_three().everywhere("KRAKEN:XBTUSD")] == ["kraken"]


def test_a_spelling_that_comes_to_different_symbols_is_taken_as_it_is_written() -> None:
    tables = two_lists_of_three()
    tables.put("okx", [Instrument("okx", "XBTUSD", "BTC", "USD", kind=Kind.PERPETUAL)])
    assert [found.instrument.exchange for found in tables.everywhere("XBTUSD")] == ["kraken", "okx"]


def test_what_is_ambiguous_on_one_exchange_and_unknown_on_the_others_is_answered_with_the_names() -> None:
    tables = two_lists_of_three()
    tables.put("okx", [Instrument("okx", "ET-HUSD", "ET", "HUSD"), Instrument("okx", "ETH-USE", "ETHU", "SD")])
    tables.put("kraken", [])
    with pytest.raises(SymbolNotFound) as refusal:
        tables.everywhere("ETHUSD")
    assert refusal.value.details["suggestions"][:2] == ["ET-HUSD", "ETHU-SD"]


def test_a_symbol_that_is_nowhere_is_looked_for_in_no_more_lists_than_five_suggestions_need(
    compared: list[int],
) -> None:
    tables = SymbolTables()
    tables.exchanges = ["binance", "bybit", "okx"]
    for exchange in tables.exchanges:
        tables.put(exchange, markets_of(exchange, 10))
    with pytest.raises(SymbolNotFound) as refusal:
        tables.everywhere("T000USDX")
    assert refusal.value.details["suggestions"][0] == "T000-USDT"
    assert len(compared) == 1


def test_a_list_that_has_not_come_is_no_missing_exchange() -> None:
    tables = two_lists_of_three()
    assert tables.table("Coinbase").exchange == "coinbasepro"
    assert tables.is_known and not tables.is_whole and tables.missing == ["okx"]
    with pytest.raises(ServiceUnavailable):
        tables.table("okx")
    with pytest.raises(ExchangeNotFound, match="coinbasepro, kraken, okx"):
        tables.table("mtgox")
    tables.put("okx", [])
    assert tables.is_whole


def test_before_any_list_nobody_is_told_that_something_does_not_exist() -> None:
    for question in (lambda: SymbolTables().table("mtgox"), lambda: SymbolTables().everywhere("BTC-USD")):
        with pytest.raises(ServiceUnavailable):
            question()


NAMES = st.text("ABCP1.-", min_size=1, max_size=8)


@given(NAMES, st.text("ABCP1", min_size=1, max_size=5), st.sampled_from(Kind))
def test_a_canonical_symbol_is_taken_apart_into_what_it_was_made_of(base: str, quote: str, kind: Kind) -> None:
    assert split_symbol(Instrument("x", "", base, quote, kind).symbol) == (base, quote, kind)
