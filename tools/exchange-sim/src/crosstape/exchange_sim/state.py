"""What survives a restart: ids always, recent trades and minutes after a clean stop.

`reserved.json` holds, per market, ids nobody has used yet, written before the ids below them run out: after a
kill -9 the next run starts there, so an id is never used twice and the ids in between never exist. A clean
stop writes the very next ids, so nothing is skipped. `recent.msgpack` holds history: a clean stop writes it and
the next run takes it away, for after a kill -9 of that run it would lack trades without a word.
"""

import os
from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

import msgspec

from crosstape.exchange_sim.bars import Bar
from crosstape.exchange_sim.market import Market

TRADE_BLOCK = 10_000
UPDATE_BLOCK = 2_000_000
UPDATE_MARGIN = 1_000_000
RECENT_TRADES = 20_000
_numbers_of = attrgetter(*(field.name for field in fields(Bar)))


class Reserved(msgspec.Struct):
    """Ids from which on everything is free."""

    trade: int
    update: int


class Recent(msgspec.Struct):
    """A market's newest trades as columns of machine integers, its minutes and the start of its own
    history."""

    since: int
    columns: list[bytes]
    minutes: list[tuple[int, ...]]


class StateStore:
    """The two files of one state folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._reserved_path = folder / "reserved.json"
        self._recent_path = folder / "recent.msgpack"
        self.reserved: dict[str, Reserved] = {}
        if self._reserved_path.exists():
            self.reserved = msgspec.json.decode(self._reserved_path.read_bytes(), type=dict[str, Reserved])

    def load_recent(self) -> dict[str, Recent]:
        if not self._recent_path.exists():
            return {}
        return msgspec.msgpack.decode(self._recent_path.read_bytes(), type=dict[str, Recent])

    def adopt(self, markets: Iterable[Market]) -> None:
        """Continues the markets where the last run ended and from now on reserves their ids."""
        recent = self.load_recent()
        for market in markets:
            key = market.instrument.key
            if key in self.reserved:
                market.next_number = self.reserved[key].trade
                market.engine.update_id = self.reserved[key].update
            if key in recent:
                restore(market, recent[key])
            market.reserve = self.reserve
            self._extend(market)
        self._write_reserved()
        self._recent_path.unlink(missing_ok=True)

    def reserve(self, market: Market) -> None:
        self._extend(market)
        self._write_reserved()

    def _extend(self, market: Market) -> None:
        reserved = Reserved(market.next_number + TRADE_BLOCK, market.engine.update_id + UPDATE_BLOCK)
        self.reserved[market.instrument.key] = reserved
        market.reserved_number = reserved.trade
        market.reserved_update = reserved.update - UPDATE_MARGIN

    def save(self, markets: Iterable[Market]) -> None:
        """The clean stop."""
        recent: dict[str, Recent] = {}
        for market in markets:
            key = market.instrument.key
            self.reserved[key] = Reserved(market.next_number, market.engine.update_id)
            columns = [column[-RECENT_TRADES:].tobytes() for column in market.history.columns()]
            minutes = list(map(_numbers_of, market.minutes.values()))
            recent[key] = Recent(market.since, columns, minutes)
        write_whole(self._recent_path, msgspec.msgpack.encode(recent))
        self._write_reserved()

    def _write_reserved(self) -> None:
        write_whole(self._reserved_path, msgspec.json.encode(self.reserved))


def restore(market: Market, recent: Recent) -> None:
    for column, content in zip(market.history.columns(), recent.columns, strict=True):
        column.frombytes(content)
    for minute in recent.minutes:
        bar = Bar(*minute)
        market.minutes[bar.open_time] = bar
    market.since = recent.since


def write_whole(path: Path, content: bytes) -> None:
    """The file is the old one or the new one, never half of it, over a power cut either."""
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
