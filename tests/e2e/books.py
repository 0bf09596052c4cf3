"""The books that topic `books` tells, as every reader keeps them, against the simulator's truth."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Sequence
from decimal import Decimal
from itertools import chain, repeat
from typing import Any

import aiohttp
import pytest

from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.follower import Follower
from crosstape.common.bus.topics import BOOKS
from crosstape.exchanges.followed_book import FollowedBook, said_at
from tests.e2e.stack import get, until

DEPTH = 10
BLIND = ("coinbasepro",)
"""Exchanges whose books have neither numbers nor checksums: there no frame shows that it was left out or came late."""
UNSEEN = ("skip", "reorder")

REST_SECONDS = 0.5, 1.0, 2.0
"""How long books at rest are compared before the markets go on, first, then, and from then on."""

Levels = list[tuple[Decimal, Decimal]]
Top = tuple[Levels, Levels]


async def books_come_right(
    session: aiohttp.ClientSession,
    bus: BusSettings,
    simulator: str,
    markets: Sequence[dict[str, Any]],
    *,
    faults: Collection[str],
    back: float,
    seconds: float,
) -> None:
    """Fails unless after `seconds` every reader who follows from `back` seconds ago has the true books of `markets` (of
    `/_truth/markets`), which are paused. `faults` are those that the wire had.

    They go on for a moment, so that what was left out before shows, and again where that is not enough: a book that is
    taken anew may need another change.
    """
    hidden = BLIND if any(fault in faults for fault in UNSEEN) else ()
    seen = [market for market in markets if market["exchange"] not in hidden]
    followed = {_key(market): FollowedBook(market["exchange"]) for market in seen}
    truth: dict[tuple[str, str], Top] = {}
    told: dict[tuple[str, str], Top | str] = {}
    try:
        async with asyncio.timeout(seconds), Follower(bus, {BOOKS: back}) as follower:
            arrivals = follower.arrivals()
            for rest in chain(REST_SECONDS, repeat(REST_SECONDS[-1])):
                truth = await _after_a_change(session, simulator, seen)
                end = time.monotonic() + rest
                while time.monotonic() < end:
                    for record in (await anext(arrivals)).records:
                        if (book := followed.get((record.value.exchange, record.value.symbol))) is not None:
                            book.apply(record.value, said_at(record.value, record.time_ms))
                    told = {key: _told(book) for key, book in followed.items()}
                    if told == truth:
                        return
    except TimeoutError:
        wrong = {key: (top, truth[key]) for key, top in told.items() if top != truth[key]}
        pytest.fail(f"not within {seconds:.0f} s: of these books is told the first, and true the second: {wrong}")


def _key(market: dict[str, Any]) -> tuple[str, str]:
    return market["exchange"], f"{market['base']}-{market['quote']}"


def _told(book: FollowedBook) -> Top | str:
    """The best levels, or why there are none to show."""
    if book.broken is not None:
        return book.broken
    bids, asks = book.book.top(DEPTH)
    return _levels(bids), _levels(asks)


def _levels(side: Sequence[Sequence[str]]) -> Levels:
    return [(Decimal(price), Decimal(quantity)) for price, quantity in side]


async def _after_a_change(
    session: aiohttp.ClientSession, simulator: str, markets: Sequence[dict[str, Any]]
) -> dict[tuple[str, str], Top]:
    """The best levels of each book, at rest; it has changed since the call, so that what was left out before shows."""
    books = await _books(session, simulator, markets)
    before = {key: book["update_id"] for key, book in books.items()}

    async def have_changed() -> bool:
        books.update(await _books(session, simulator, markets))
        return all(books[key]["update_id"] > update_id for key, update_id in before.items())

    await session.post(f"{simulator}/_truth/resume")
    await until(have_changed, every=0.05, describe=lambda: "the books of the simulator stand still")
    await session.post(f"{simulator}/_truth/pause")
    books.update(await _books(session, simulator, markets))
    return {key: (_levels(book["bids"]), _levels(book["asks"])) for key, book in books.items()}


async def _books(
    session: aiohttp.ClientSession, simulator: str, markets: Sequence[dict[str, Any]]
) -> dict[tuple[str, str], dict[str, Any]]:
    url = "{}/_truth/{}/{}/book"
    return {
        _key(one): await get(session, url.format(simulator, one["exchange"], one["symbol"]), depth=str(DEPTH))
        for one in markets
    }
