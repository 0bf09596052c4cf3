"""What the decoders are measured on: real frames of five exchanges, each in the form that each contender reads."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence

from msgspec import Struct

from bench import conversions
from bench.recordings import frames
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.exchanges.binance import Binance
from crosstape.exchanges.bybit import Bybit
from crosstape.exchanges.coinbasepro import CoinbasePro
from crosstape.exchanges.dialect import Channel, Dialect
from crosstape.exchanges.kraken import Kraken
from crosstape.exchanges.okx import Okx

LEAST_FRAMES = 8_000
"""Short recordings are repeated up to here, for all contenders alike; that flatters everybody's caches."""


class Input(Struct, frozen=True):
    """Frames of one channel, the same for all, as `ours`, `cryptofeed` and `ccxt` read them.

    `items` is how many trades (of a trade channel) or frames (of a book channel) they hold. `snapshot` is the book that
    REST answered where the socket sends none. `url` is the socket's, by which ccxt and cryptofeed know the market.
    `has_checksum`: its updates carry one that all contenders can verify. `cryptofeed_reads`: what cryptofeed gets where
    it does not read the exchange's protocol, and its figures are then no comparison but a fact.
    """

    name: str
    dialect: Dialect
    channel: Channel
    instruments: tuple[Instrument, ...]
    url: str
    ours: list[bytes]
    cryptofeed: list[str]
    ccxt: list[str]
    items: int
    snapshot: str = ""
    has_checksum: bool = False
    cryptofeed_reads: str = ""


def trade_inputs() -> Iterator[Callable[[], Input]]:
    """The trade channels; each call may raise Skip."""
    yield lambda: _binance("binance spot trades", "binance/spot-btcusdt-20240808", "BTC", Kind.SPOT)
    yield lambda: _binance("binance USD-M trades", "binance/usdm-ethusdt-20240808", "ETH", Kind.PERPETUAL)
    yield lambda: _coinbase("coinbasepro trades", Channel.TRADES, '"type":"match"')
    yield lambda: _okx("okx trades", "okx/ws-2022-a", Channel.TRADES, '"channel":"trades"', '"data"', "BTC-USDT")
    yield lambda: _bybit("bybit spot trades", Channel.TRADES, "publicTrade.", Kind.SPOT)
    yield lambda: _bybit("bybit linear trades", Channel.TRADES, "publicTrade.", Kind.PERPETUAL)
    yield lambda: _kraken("kraken trades", "more/kraken/spot_v1_a_20210405", Channel.TRADES, '"trade",')


def book_inputs() -> Iterator[Callable[[], Input]]:
    """The book channels; each call may raise Skip."""
    yield lambda: _binance("binance spot book", "binance/spot-btcusdt-20240808", "BTC", Kind.SPOT, is_book=True)
    yield lambda: _coinbase("coinbasepro book", Channel.BOOK, '"product_id"', '"type":"snapshot"', '"type":"l2update"')
    yield lambda: _okx("okx book", "more/okx/v5_mix_20220227", Channel.BOOK, '"books-l2-tbt"', '"data"', "N-USDT")
    yield lambda: _bybit("bybit linear book", Channel.BOOK, "orderbook.200.", Kind.PERPETUAL)
    yield lambda: _kraken("kraken book", "kraken/ws-v1-2021-a", Channel.BOOK, '"book-1000"', has_checksum=True)


def _input(
    name: str,
    dialect: Dialect,
    channel: Channel,
    instruments: Sequence[Instrument],
    url: str,
    ours: Sequence[str],
    cryptofeed: Sequence[str] | None = None,
    ccxt: Sequence[str] | None = None,
    *,
    snapshot: str = "",
    has_checksum: bool = False,
) -> Input:
    times = 1 if snapshot else -(-LEAST_FRAMES // len(ours))
    forms = [list(form if form is not None else ours) * times for form in (ours, cryptofeed, ccxt)]
    encoded = [frame.encode() for frame in forms[0]]
    items = len(encoded)
    if channel is Channel.TRADES:
        decode = dialect.subscriptions(list(instruments), frozenset((channel,)))[0].decode
        items = sum(len(decode(frame, 0)) for frame in encoded)
    return Input(
        name,
        dialect,
        channel,
        tuple(instruments),
        url,
        *(encoded, forms[1], forms[2], items),
        snapshot,
        has_checksum,
        "version 1 of the protocol" if dialect.exchange == "kraken" else "",
    )


def _binance(name: str, recording: str, base: str, kind: Kind, *, is_book: bool = False) -> Input:
    instrument = Instrument("binance", f"{base}USDT", base, "USDT", kind)
    host = "stream.binance.com:9443" if kind is Kind.SPOT else "fstream.binance.com"
    if not is_book:
        found = [f for f in frames(recording, "@trade") if '"X":"MARKET"' in f or kind is Kind.SPOT]
        peers = [conversions.aggregate_trade(frame) for frame in found]
        return _input(name, Binance(), Channel.TRADES, [instrument], f"wss://{host}/ws/0", found, peers)
    snapshot = next(iter(frames(recording, '"lastUpdateId"')))
    newest = json.loads(snapshot)["lastUpdateId"]
    diffs = [f for f in frames(recording, "@depth") if json.loads(f)["data"]["u"] > newest]
    return _input(name, Binance(), Channel.BOOK, [instrument], f"wss://{host}/ws/0", diffs, snapshot=snapshot)


def _coinbase(name: str, channel: Channel, part: str, *kinds: str) -> Input:
    found = [f for f in frames("coinbase/ws-2021-a", part) if not kinds or any(kind in f for kind in kinds)]
    products = sorted({json.loads(frame)["product_id"] for frame in found})
    instruments = [_dashed("coinbasepro", product) for product in products]
    converted = [conversions.advanced_trade(frame) for frame in found]
    return _input(name, CoinbasePro(), channel, instruments, "wss://ws-feed.exchange.coinbase.com", found, converted)


def _okx(name: str, recording: str, channel: Channel, *parts: str) -> Input:
    found = frames(recording, *parts)
    ids = sorted({json.loads(frame)["arg"]["instId"] for frame in found})
    instruments = [_dashed("okx", one) for one in ids]
    return _input(
        name,
        Okx(),
        channel,
        instruments,
        "wss://ws.okx.com:8443/ws/v5/public",
        found,
        has_checksum=channel is Channel.BOOK,
    )


def _bybit(name: str, channel: Channel, part: str, kind: Kind) -> Input:
    path = "linear" if kind is Kind.PERPETUAL else "spot"
    found = frames("more/bybit/v5_btc_eth_20260809", part, url=f"/{path}")
    instruments = [Instrument("bybit", f"{base}USDT", base, "USDT", kind) for base in ("BTC", "ETH")]
    return _input(name, Bybit(), channel, instruments, f"wss://stream.bybit.com/v5/public/{path}", found)


def _dashed(exchange: str, exchange_symbol: str) -> Instrument:
    base, quote = exchange_symbol.split("-")
    return Instrument(exchange, exchange_symbol, base, quote)


def _slashed(pair: str) -> Instrument:
    """Of Kraken, from the spelling of version 1 (`XBT/USD`)."""
    newer = pair.replace("XBT", "BTC")
    base, quote = newer.split("/")
    return Instrument("kraken", pair.replace("/", ""), base, quote, stream_symbol=newer)


def _kraken(name: str, recording: str, channel: Channel, part: str, *, has_checksum: bool = False) -> Input:
    found = [frame for frame in frames(recording, part) if frame.startswith("[")]
    pairs = sorted({json.loads(frame)[-1] for frame in found})
    instruments = [_slashed(pair) for pair in pairs]
    newer = list(conversions.kraken_v2(found))
    return _input(
        name, Kraken(), channel, instruments, "wss://ws.kraken.com/v2", newer, found, has_checksum=has_checksum
    )
