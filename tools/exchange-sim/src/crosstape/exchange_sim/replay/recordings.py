"""Reading recordings: files, gzipped or not, of JSON lines `{"t": ns, "dir": open|out|in|http, "src": URL, "frame":
text}`."""

import gzip
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import msgspec

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
    """The frames of one file that came from one address, in order; `books` are snapshots by symbol."""

    path: Path
    exchange: str
    address: str
    frames: list[Frame] = field(default_factory=list)
    books: dict[str, bytes] = field(default_factory=dict)

    @property
    def symbols(self) -> list[str]:
        return sorted({frame.symbol for frame in self.frames})


@dataclass(frozen=True, slots=True)
class HttpBody:
    """What a GET of `address` + `path` with `query` returned."""

    exchange: str
    address: str
    path: str
    query: dict[str, str]
    body: bytes


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
            for line in lines:
                try:
                    yield decoder.decode(line)
                except msgspec.DecodeError:
                    if line.endswith(b"\n"):
                        raise
                    raise EOFError from None
        except EOFError:
            logging.warning("%s is cut off: it is played up to its last whole line", path)


def read_folder(folder: Path, exchanges: tuple[str, ...]) -> tuple[list[Recording], list[HttpBody]]:
    """Every recording below `folder` of one of `exchanges`, and every recorded HTTP answer."""
    recordings: list[Recording] = []
    bodies: list[HttpBody] = []
    for path in sorted([*folder.rglob("*.jsonl"), *folder.rglob("*.jsonl.gz")]):
        by_address: dict[tuple[str, str], Recording] = {}
        received = 0
        for line in read_lines(path):
            place = address_of(line.src)
            if place is None or place[0] not in exchanges:
                continue
            received = line.t or received
            if line.dir == "http":
                parts = urlsplit(line.src)
                query = dict(parse_qsl(parts.query))
                bodies.append(HttpBody(*place, parts.path, query, line.frame.encode()))
            elif line.dir == "in":
                recording = by_address.setdefault(place, Recording(path, *place))
                add_frame(recording, line.frame.encode(), received)
        recordings += [recording for recording in by_address.values() if recording.frames]
    return recordings, bodies


def add_frame(recording: Recording, payload: bytes, received: int) -> None:
    content: FrameContent | None = READERS[recording.exchange](payload)
    if content is None:
        return
    if content.is_book_answer:
        recording.books[content.symbol or recording.frames[-1].symbol] = payload
    else:
        recording.frames.append(Frame(received, content.name, content.symbol, payload, content.trades))
