"""Which trade ids a market lacks: the minutes whose ids do not add up, then the exact holes in those."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence

from msgspec import Struct

from crosstape.exchanges import DIALECTS
from crosstape.history.api.markets import Market
from crosstape.history.api.spans import Spans
from crosstape.history.store import Store

MINUTE = 60
RECENT = 2 * 86_400
PAGE_HOLES = 10_000


class Hole(Struct, frozen=True):
    """Missing ids [first, last] and the times (ns) of the trades right before and after them."""

    first: int
    last: int
    after: int
    before: int


def is_numbered(market: Market) -> bool:
    """Whether a hole in the market's ids is a lost trade."""
    dialect = DIALECTS.get(market.exchange)
    return dialect is not None and dialect.numbers_trades(market.instrument)


async def missing_ids(
    store: Store, exchange: str, symbols: Sequence[str], start: int, end: int
) -> dict[str, list[Hole]]:
    """The holes of numbered markets in [start, end) (Unix s), the newest trades included; without those that the
    exchange's own history calls absent."""
    place = {"exchange": exchange, "symbols": list(symbols)}
    suspects: dict[str, list[tuple[int, int]]] = {}
    for symbol, _, before, last in await store.rows("suspect_minutes", start=start, end=end, **place):
        suspects.setdefault(symbol, []).append((max(0, before), last))
    newest = await newest_trades(store, exchange, symbols)
    if end > (opened := open_from(newest)):
        for symbol, first, last, *_ in await store.rows("open_ids", start=max(start, opened), end=end, **place):
            closed = newest[symbol].closed_seq if symbol in newest else first
            suspects.setdefault(symbol, []).append((min(closed, first), max(closed, last)))
    absent: dict[str, list[tuple[int, int]]] = {}
    for symbol, first, last in await store.rows("absent_ids", **place):
        absent.setdefault(symbol, []).append((first, last + 1))
    found: dict[str, list[Hole]] = {}
    for symbol, ranges in suspects.items():
        for joined in _joined(ranges):
            rows = await _holes(store, exchange, symbol, *joined)
            found.setdefault(symbol, []).extend(_present(rows, Spans(absent.get(symbol, ()))))
    return {symbol: holes for symbol, holes in found.items() if holes}


async def _holes(store: Store, exchange: str, symbol: str, first: int, last: int) -> list[tuple[int, ...]]:
    """All holes in the ids [first, last], page by page."""
    found: list[tuple[int, ...]] = []
    while True:
        page = await store.rows(
            "missing_ids", exchange=exchange, symbol=symbol, first=first, last=last, limit=PAGE_HOLES
        )
        found += page
        if len(page) < PAGE_HOLES:
            return found
        first = page[-1][1] + 1


class Newest(Struct, frozen=True):
    """How far a market's minutes are closed (Unix s), and the last trade in them."""

    closed_until: int
    closed_seq: int
    closed_uid: str


async def newest_trades(store: Store, exchange: str, symbols: Sequence[str]) -> dict[str, Newest]:
    """Of each market that has a closed minute. Most have a recent one: only for the others more is read."""
    found: dict[str, Newest] = {}
    for since in (max(0, int(time.time()) - RECENT), 0):
        lacking = [symbol for symbol in symbols if symbol not in found]
        if lacking:
            rows = await store.rows("newest_closed", exchange=exchange, symbols=lacking, since=since)
            found |= {symbol: Newest(minute + MINUTE, seq, uid) for symbol, minute, seq, uid in rows}
    return found


def open_from(newest: Mapping[str, Newest]) -> int:
    """From when on (Unix s) minutes of these markets may not be closed yet: they close within two of their end."""
    return max(0, max((market.closed_until for market in newest.values()), default=0) - 2 * MINUTE)


def _joined(ranges: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    """Ranges that touch as one, so that neighbours cost one query."""
    return ((start, end - 1) for start, end in Spans((first, last + 1) for first, last in ranges))


def _present(rows: Iterable[tuple[int, ...]], absent: Spans) -> Iterable[Hole]:
    for first, last, after, before in rows:
        for start, end in absent.lacking(first, last + 1):
            yield Hole(start, end - 1, after, before)
