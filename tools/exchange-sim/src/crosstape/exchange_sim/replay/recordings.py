"""Reading recordings: files, gzipped or not, of JSON lines `{"t": ns, "dir": open|out|in|http, "src": URL, "frame":
text}`."""

import functools
import gzip
import logging
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import msgspec

from crosstape.exchange_sim.decimal_text import decimals_of
from crosstape.exchange_sim.replay.frames import READERS, FrameContent, RecordedTrade

ADDRESSES = {
    "stream.binance.com": ("binance", "spot.stream"),
    "fstream.binance.com": ("binance", "perpetual.stream"),
    "api.binance.com": ("binance", "spot.rest"),
    "fapi.binance.com": ("binance", "perpetual.rest"),
    "ws-feed.pro.coinbase.com": ("coinbasepro", "stream"),
    "ws-feed.exchange.coinbase.com": ("coinbasepro", "stream"),
    "api.pro.coinbase.com": ("coinbasepro", "rest"),
    "api.exchange.coinbase.com": ("coinbasepro", "rest"),
    "ws.okx.com": ("okx", "stream"),
    "www.okx.com": ("okx", "rest"),
    "ws.kraken.com": ("kraken", "stream"),
    "api.kraken.com": ("kraken", "rest"),
    "api.bybit.com": ("bybit", "rest"),
}


class Line(msgspec.Struct):
    """One line of a recording; `t` in ns, null where the recorder kept no time."""

    t: int | None
    dir: str
    src: str
    frame: str = ""


@dataclass(slots=True)
class Frame:
    """One recorded message: what it is (see frames.py), when it was received (ns) and its bytes."""

    time_received: int
    name: str
    symbol: str
    payload: bytes
    trades: list[RecordedTrade]


@dataclass(slots=True)
class Recording:
    """What is known of one file's frames from one address; they stay in the file, for days of them fit no memory.

    `decimals` are the most that a symbol's prices and quantities were written with, None without trades; `newest` the
    last payload of each channel; `books` snapshots by symbol. `first` and `last` are when frames were received (ns),
    `count` how many.
    """

    path: Path
    exchange: str
    address: str
    first: int = 0
    last: int = 0
    count: int = 0
    last_symbol: str = ""
    decimals: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    newest: dict[str, bytes] = field(default_factory=dict)
    books: dict[str, bytes] = field(default_factory=dict)

    @property
    def symbols(self) -> list[str]:
        return sorted(self.decimals)

    def frames(self) -> Iterator[Frame | None]:
        """All of them in order, read as they are asked for, and None for each of the file's other lines, of which there
        may be very many between two; not those that a recorder has added since."""
        left = self.count
        for place, received, line in placed_lines(self.path):
            frame = None
            if line.dir == "in" and place == (self.exchange, self.address):
                payload = line.frame.encode()
                content = READERS[self.exchange](payload)
                if content is not None and not content.is_book_answer:
                    frame = Frame(received, content.name, content.symbol, payload, content.trades)
                    left -= 1
            yield frame
            if not left:
                return

    def note(self, payload: bytes, received: int) -> None:
        """Learn of the next frame."""
        content: FrameContent | None = READERS[self.exchange](payload)
        if content is None:
            return
        if content.is_book_answer:
            self.books[content.symbol or self.last_symbol] = payload
            return
        if not self.decimals:
            self.first = received
        self.last, self.last_symbol = received, content.symbol
        self.count += 1
        self.newest[content.name] = payload
        known = self.decimals.setdefault(content.symbol, None)
        for trade in content.trades:
            price, quantity = known or (0, 0)
            known = max(price, decimals_of(trade.price)), max(quantity, decimals_of(trade.quantity))
        self.decimals[content.symbol] = known


@dataclass(frozen=True, slots=True)
class HttpBody:
    """What a GET of `address` + `path` with `query` returned."""

    exchange: str
    address: str
    path: str
    query: dict[str, str]
    body: bytes


@functools.lru_cache
def address_of(url: str) -> tuple[str, str] | None:
    """(exchange, address name) of a recorded URL; None for what is not served here."""
    parts = urlsplit(url)
    if parts.hostname == "stream.bybit.com":
        category = parts.path.rpartition("/")[2]
        name = {"spot": "spot.stream", "linear": "perpetual.stream"}.get(category)
        return ("bybit", name) if name and "/v5/" in parts.path else None
    return ADDRESSES.get(parts.hostname or "")


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a file, up to where it was cut off: its recorder was killed, or its disk full."""
    decoder = msgspec.json.Decoder(Line)
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
        try:
            for number, line in enumerate(lines, 1):
                try:
                    yield decoder.decode(line)
                except msgspec.DecodeError as error:
                    if line.endswith(b"\n"):
                        raise ValueError(f"line {number} of {path} cannot be read: {error}") from None
                    raise EOFError from None
        except (EOFError, zlib.error, gzip.BadGzipFile):
            logging.warning("%s is cut off: it is played up to its last whole line", path)


def placed_lines(path: Path) -> Iterator[tuple[tuple[str, str], int, Line]]:
    """The lines of a file from addresses served here: (exchange, address name), time received in ns, line."""
    received = 0
    for line in read_lines(path):
        if place := address_of(line.src):
            received = line.t or received
            yield place, received, line


def read_recordings(where: Path, exchanges: tuple[str, ...]) -> tuple[list[Recording], list[HttpBody]]:
    """Every recording of one of `exchanges` below the folder or in the file `where`, and every recorded HTTP answer."""
    recordings: list[Recording] = []
    bodies: list[HttpBody] = []
    below = [where] if where.is_file() else [*where.rglob("*.jsonl"), *where.rglob("*.jsonl.gz")]
    for path in sorted(below):
        by_address: dict[tuple[str, str], Recording] = {}
        for place, received, line in placed_lines(path):
            if place[0] not in exchanges:
                continue
            if line.dir == "http":
                parts = urlsplit(line.src)
                query = dict(parse_qsl(parts.query))
                bodies.append(HttpBody(*place, parts.path, query, line.frame.encode()))
            elif line.dir == "in":
                recording = by_address.setdefault(place, Recording(path, *place))
                recording.note(line.frame.encode(), received)
        recordings += [recording for recording in by_address.values() if recording.decimals]
    return recordings, bodies
