"""Books to subscribers: always the newest state, at most every so many milliseconds, and later still to whoever reads
slowly. So a slow reader loses nothing that still matters, and waits for nobody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from crosstape.stream_hub import messages
from crosstape.stream_hub.book_view import MalformedBook, Sides, Venue, consolidate, view
from crosstape.stream_hub.encoding import Build, Encoding
from crosstape.stream_hub.fanout import DELIVERED, Member, Outbox
from crosstape.stream_hub.market import MarketState

BACKLOG_BYTES = 64 * 1024
"""A socket with more than this to write gets no further book until it has caught up."""


class Target(NamedTuple):
    """A market to show. `quote_alias` is its quote where the subscriber asked for another."""

    market: MarketState
    quote_alias: str | None


class BookMember(Member, Protocol):
    """A socket that tells how much it has still to write."""

    def backlog(self) -> int: ...


def show(target: Target, depth: int, now: float) -> tuple[Venue, Sides | None]:
    """A market's book at `now` (Unix s): the venue says why where there are no sides to show."""
    book = target.market.book
    reason = book.reason(now)
    sides = None
    if reason is None:
        try:
            sides = view(book.book, depth)
        except MalformedBook:
            reason = book.refuse("malformed")
    age = book.age(now)
    return Venue(book.exchange, book.symbol, target.quote_alias, reason, age, book.offset), sides


def newest_book(target: Target, depth: int, head: Mapping[str, Any], now: float) -> tuple[Build, str | None]:
    """The message about one exchange's book, and the reason where it says that there is none to show."""
    venue, sides = show(target, depth, now)
    if sides is None or venue.reason is not None:
        return messages.book_stale(head, venue.reason or ""), venue.reason
    book = target.market.book
    return messages.book(head, sides, book.time, book.offset), None


class Together(NamedTuple):
    """Books as one at `time` (ns), the newest of those that are in it; no `sides` where there is none."""

    venues: Sequence[Venue]
    sides: Sides | None
    time: int


def show_together(targets: Sequence[Target], depth: int, now: float) -> Together:
    """The book at `now` (Unix s) over all exchanges whose books were ever heard of."""
    shown = [(target, *show(target, depth, now)) for target in targets if target.market.book.was_heard]
    live = [(target.market.book, sides) for target, _, sides in shown if sides is not None]
    sides = consolidate([(book.exchange, own) for book, own in live], depth) if live else None
    return Together([venue for _, venue, _ in shown], sides, max((book.time for book, _ in live), default=0))


def newest_consolidated(
    targets: Sequence[Target], depth: int, head: Mapping[str, Any], now: float
) -> tuple[Build, str | None]:
    """The message about the book over all exchanges, and the reason where there is none to show."""
    venues, sides, newest = show_together(targets, depth, now)
    if sides is None:
        return messages.book_stale(head, "no exchange has a book to show"), "none"
    return messages.consolidated_book(head, sides, venues, newest), None


class BookFeed:
    """One view for everybody who wants it: the same markets, depth, interval and spelling."""

    def __init__(
        self,
        outbox: Outbox,
        targets: Sequence[Target],
        *,
        is_consolidated: bool,
        depth: int,
        interval: float,
        head: Mapping[str, Any],
    ):
        self._outbox = outbox
        self._targets = targets
        self._is_consolidated = is_consolidated
        self._depth = depth
        self._interval = interval
        self._head = head
        self._members: dict[BookMember, None] = {}
        self._lagging: dict[BookMember, None] = {}
        self._has_changed = False
        self._told_reason: str | None = None
        self._sent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        for target in targets:
            target.market.book_listeners[self] = None

    def __len__(self) -> int:
        """How many members there are."""
        return len(self._members)

    def close(self) -> None:
        """Nobody looks any more."""
        for target in self._targets:
            target.market.book_listeners.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()

    def join(self, member: BookMember) -> None:
        """Give `member` the state of now, or the newest once it has read what it has, and from then on every newest."""
        self._members[member] = None
        build, _ = self._newest()
        self._give(build, [member])
        if self._lagging:
            self._schedule()

    def leave(self, member: BookMember) -> None:
        """No message any more."""
        self._members.pop(member, None)
        self._lagging.pop(member, None)

    def changed(self) -> None:
        """Something about the books is new."""
        self._has_changed = True
        self._schedule()

    def _schedule(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(max(loop.time(), self._sent_at + self._interval), self._send)

    def _newest(self) -> tuple[Build, str | None]:
        now = time.time()
        if self._is_consolidated:
            return newest_consolidated(self._targets, self._depth, self._head, now)
        return newest_book(self._targets[0], self._depth, self._head, now)

    def _send(self) -> None:
        self._timer = None
        self._sent_at = asyncio.get_running_loop().time()
        waiting = self._members if self._has_changed else self._lagging
        if any(member.backlog() <= BACKLOG_BYTES for member in waiting):
            build, reason = self._newest()
            is_new = reason != self._told_reason or (self._has_changed and reason is None)
            self._has_changed = False
            self._told_reason = reason
            self._give(build, list(self._members if is_new else self._lagging))
        if self._lagging or (self._has_changed and self._members):
            self._schedule()

    def _give(self, build: Build, receivers: Sequence[BookMember]) -> None:
        frames: dict[Encoding, bytes] = {}
        for member in receivers:
            if member.backlog() > BACKLOG_BYTES:
                self._lagging[member] = None
                continue
            self._lagging.pop(member, None)
            frame = frames.get(member.encoding)
            if frame is None:
                frame = frames[member.encoding] = member.encoding.frame(build)
            self._outbox.add(member, frame)
            DELIVERED.inc()
