"""What a recorded frame is: its channel, its symbol and the trades in it, for each exchange's recorded
dialect.

A reader answers None for what is not market data (acknowledgements, heartbeats).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from crosstape.exchange_sim.matching import Side

NS_PER_MS = 1_000_000


class RecordedTrade(NamedTuple):
    """Texts as recorded; `trade_id` is empty where the protocol had none; `side` is the taker's."""

    trade_id: str
    time_ns: int
    price: str
    quantity: str
    side: Side


@dataclass(slots=True)
class FrameContent:
    """`is_book_answer`: a REST book snapshot that the recorder wrote among the stream's frames."""

    name: str
    symbol: str
    trades: list[RecordedTrade] = field(default_factory=list)
    is_book_answer: bool = False


class BinanceEnvelope(msgspec.Struct, rename={"last_update_id": "lastUpdateId"}):
    """A combined stream's frame, or a depth answer, which alone has `lastUpdateId`."""

    stream: str = ""
    data: msgspec.Raw = msgspec.Raw(b"")
    last_update_id: int = 0


class BinanceTrade(msgspec.Struct):
    """The fields used of a `trade` event; times in ms, `m` true for a taker sell."""

    t: int
    T: int
    p: str
    q: str
    m: bool


BINANCE_ENVELOPE = msgspec.json.Decoder(BinanceEnvelope)
BINANCE_TRADE = msgspec.json.Decoder(BinanceTrade)


def read_binance(payload: bytes) -> FrameContent | None:
    frame = BINANCE_ENVELOPE.decode(payload)
    if frame.last_update_id:
        return FrameContent("depth", "", is_book_answer=True)
    symbol, _, stream = frame.stream.partition("@")
    content = FrameContent(stream.partition("@")[0], symbol.upper())
    if content.name == "trade":
        trade = BINANCE_TRADE.decode(frame.data)
        side: Side = "sell" if trade.m else "buy"
        content.trades.append(RecordedTrade(str(trade.t), trade.T * NS_PER_MS, trade.p, trade.q, side))
    return content if symbol else None


COINBASE_CHANNELS = {"match": "matches", "last_match": "matches", "snapshot": "level2", "l2update": "level2"}


def read_coinbase(payload: bytes) -> FrameContent | None:
    frame: dict[str, Any] = msgspec.json.decode(payload)
    kind = frame["type"]
    if kind not in COINBASE_CHANNELS:
        return None
    content = FrameContent(COINBASE_CHANNELS[kind], frame["product_id"])
    if content.name == "matches":
        side: Side = "sell" if frame["side"] == "buy" else "buy"
        time_ns = ns_of_iso(frame["time"])
        content.trades.append(RecordedTrade(str(frame["trade_id"]), time_ns, frame["price"], frame["size"], side))
    return content


def read_okx(payload: bytes) -> FrameContent | None:
    frame: dict[str, Any] = msgspec.json.decode(payload)
    if "data" not in frame:
        return None
    content = FrameContent(frame["arg"]["channel"], frame["arg"]["instId"])
    if content.name in ("trades", "trades-all"):
        for one in frame["data"]:
            time_ns = int(one["ts"]) * NS_PER_MS
            content.trades.append(RecordedTrade(one["tradeId"], time_ns, one["px"], one["sz"], one["side"]))
    return content


def read_bybit(payload: bytes) -> FrameContent | None:
    frame: dict[str, Any] = msgspec.json.decode(payload)
    if "topic" not in frame:
        return None
    name, _, symbol = frame["topic"].rpartition(".")
    content = FrameContent(name, symbol)
    if name == "publicTrade":
        content.trades = [RecordedTrade(one["i"], one["T"] * NS_PER_MS, one["p"], one["v"], one["S"].lower())
                          for one in frame["data"]]  # fmt: skip
    return content


class KrakenEnvelope(msgspec.Struct):
    """A frame of version 2; replies to requests have no channel."""

    channel: str = ""
    data: msgspec.Raw = msgspec.Raw(b"[]")


class KrakenRow(msgspec.Struct):
    """The fields used of a `trade`, and of a `book`, which has only the first."""

    symbol: str
    side: Side = "buy"
    price: msgspec.Raw = msgspec.Raw(b"")
    qty: msgspec.Raw = msgspec.Raw(b"")
    trade_id: int = 0
    timestamp: str = ""


KRAKEN_ENVELOPE = msgspec.json.Decoder(KrakenEnvelope)
KRAKEN_ROWS = msgspec.json.Decoder(list[KrakenRow])


def read_kraken(payload: bytes) -> FrameContent | None:
    """Objects of version 2, whose frames tell of one market each, or arrays of version 1."""
    if payload.startswith(b"["):
        return read_kraken_v1(payload)
    frame = KRAKEN_ENVELOPE.decode(payload)
    rows = KRAKEN_ROWS.decode(frame.data) if frame.channel in ("trade", "book") else []
    if not rows:
        return None
    content = FrameContent(frame.channel, rows[0].symbol)
    if content.name == "trade":
        content.trades = [RecordedTrade(str(one.trade_id), ns_of_iso(one.timestamp), unabridged(one.price),
                                        unabridged(one.qty), one.side) for one in rows]  # fmt: skip
    return content


LONGEST_EXPONENT = 100


def unabridged(number: msgspec.Raw) -> str:
    """A JSON number with every digit that it was sent with, and without an exponent, but for one whose digits would
    fill memory (1e999999999)."""
    text = bytes(number).decode()
    value = Decimal(text)
    return f"{value:f}" if abs(value.adjusted()) < LONGEST_EXPONENT else text


def read_kraken_v1(payload: bytes) -> FrameContent:
    """Arrays `[channel id, payload..., "book-1000", "XBT/USD"]`; trades have no ids."""
    frame = msgspec.json.decode(payload)
    content = FrameContent(frame[-2], frame[-1])
    if content.name == "trade":
        for price, quantity, seconds, side, *_ in frame[1]:
            time_ns = int(seconds.replace(".", "")) * 1000
            content.trades.append(RecordedTrade("", time_ns, price, quantity, "buy" if side == "b" else "sell"))
    return content


READERS: dict[str, Callable[[bytes], FrameContent | None]] = {
    "binance": read_binance, "coinbasepro": read_coinbase, "okx": read_okx, "bybit": read_bybit,
    "kraken": read_kraken,
}  # fmt: skip

TIMES: dict[str, re.Pattern[bytes]] = {
    "binance": re.compile(rb'"[ET]":(\d{13})'),
    "coinbasepro": re.compile(rb'"time":"([^"]+Z)"'),
    "okx": re.compile(rb'"ts":"(\d{13})"'),
    "bybit": re.compile(rb'"(?:ts|T|cts)":(\d{13})'),
    "kraken": re.compile(rb'"(\d{10}\.\d{6}|\d{4}-\d\d-\d\dT[\d:.]+Z)"'),
}
"""Where the exchange's own times stand in a frame: ms, ISO, or seconds with six places."""


def ns_of_iso(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int(moment.replace(microsecond=0).timestamp()) * 10**9 + moment.microsecond * 1000


def time_in(exchange: str, payload: bytes) -> int | None:
    """The first exchange time in a frame, ns."""
    found = TIMES[exchange].search(payload)
    if found is None:
        return None
    text = found[1].decode()
    if text.endswith("Z"):
        return ns_of_iso(text)
    return int(text.replace(".", "")) * (1000 if "." in text else NS_PER_MS)


def shifted(exchange: str, payload: bytes, shift_ms: int) -> bytes:
    """The frame with every exchange time moved by `shift_ms`; no checksum covers a time."""
    if not shift_ms:
        return payload

    def move(match: re.Match[bytes]) -> bytes:
        text, (start, end) = match[1].decode(), match.span(1)
        if text.endswith("Z"):
            moved = datetime.fromisoformat(text).astimezone(UTC) + timedelta(milliseconds=shift_ms)
            fresh = f"{moved:%Y-%m-%dT%H:%M:%S.%f}Z"
        elif "." in text:
            micros = int(text.replace(".", "")) + shift_ms * 1000
            fresh = f"{micros // 10**6}.{micros % 10**6:06d}"
        else:
            fresh = str(int(text) + shift_ms)
        whole, offset = match[0], match.start()
        return whole[: start - offset] + fresh.encode() + whole[end - offset :]

    return TIMES[exchange].sub(move, payload)
