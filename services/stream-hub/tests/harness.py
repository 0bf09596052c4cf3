"""A hub on a real port, fed from a log in memory; history is a tape in memory that answers what REST would."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from crosstape.common.bus.follower import Arrivals, Record
from crosstape.common.errors import ServiceUnavailable, Unauthenticated
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.identity.principal import Principal, Role, Scope
from crosstape.common.market.bar import NANOSECONDS, Bar, BarStatus, Interval, fold_bars
from crosstape.common.market.book import BookUpdate
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import Source, TakerSide, Trade, batch_trades
from crosstape.common.testing.builders import symbol_tables
from crosstape.stream_hub.channels import Channels
from crosstape.stream_hub.desk import Desk
from crosstape.stream_hub.directory import Directory
from crosstape.stream_hub.door import Door
from crosstape.stream_hub.fanout import Outbox
from crosstape.stream_hub.founding import Founder
from crosstape.stream_hub.history import NotListed
from crosstape.stream_hub.hub import PRUNE_PARTS, Hub
from crosstape.stream_hub.limits import Admissions
from crosstape.stream_hub.main import SESSIONS
from crosstape.stream_hub.market import RingSize
from crosstape.stream_hub.rollup import roll_up

PAGE = 50
"""Rows of a page of history."""
PATIENCE = 30.0
"""How long (s) what comes at once is waited for, on a machine that is busy."""
SECRET = "for tests alone: shared by the services they start"
LISTS = {
    "binance": [Instrument("binance", "BTCUSDT", "BTC", "USDT"), Instrument("binance", "ETHUSDT", "ETH", "USDT")],
    "kraken": [Instrument("kraken", "XBTUSD", "BTC", "USD", aliases=("XBT/USD",))],
    "okx": [Instrument("okx", "BTC-USDT", "BTC", "USDT")],
    "coinbasepro": [Instrument("coinbasepro", "BTC-USD", "BTC", "USD")],
}


def trade(number: int | str, *, exchange: str = "binance", symbol: str = "BTC-USDT", **fields: Any) -> Trade:
    """A buy of 1 at 60000 now, but for `fields`."""
    values: dict[str, Any] = {
        "time": time.time_ns(),
        "price": "60000.00",
        "quantity": "1.000",
        "side": TakerSide.BUY,
        "time_received": time.time_ns(),
    }
    return Trade(exchange, symbol, number, **(values | fields))


def snapshot(exchange: str, symbol: str, bids: Any, asks: Any, last_id: int | None = 1) -> BookUpdate:
    """A whole book."""
    return BookUpdate(exchange, symbol, True, bids, asks, time.time_ns(), time.time_ns(), None, last_id)


def update(exchange: str, symbol: str, bids: Any, asks: Any, last_id: int) -> BookUpdate:
    """What follows a book of the number before `last_id`."""
    return BookUpdate(exchange, symbol, False, bids, asks, 1_700_000_000_000_000_000, time.time_ns(), last_id, last_id)


class FakeHistory:
    """REST over a tape: minutes before `closed_until` (Unix s) are closed, and longer bars that end by `stored_until`.
    `revisions` count what changed since.

    It answers pages and bars while `answers` is set; `asked` counts the questions, `rows` are the lengths of pages that
    were asked for. `unlisted` are the exchanges, and the markets as (exchange, symbol), that it does not know.
    """

    def __init__(self) -> None:
        self.tape: dict[tuple[str, str, int | str], Trade] = {}
        self.closed_until = 0
        self.stored_until = 1 << 40
        self.revisions: dict[tuple[str, str, int], int] = {}
        self.unlisted: set[str | tuple[str, str]] = set()
        self.is_away = False
        self.answers = asyncio.Event()
        self.answers.set()
        self.asked = 0
        self.rows: list[int] = []

    def store(self, trades: Sequence[Trade]) -> None:
        for one in trades:
            self.tape[one.exchange, one.symbol, one.trade_id] = one

    def market(self, exchange: str, symbol: str) -> list[Trade]:
        return [one for one in self.tape.values() if (one.exchange, one.symbol) == (exchange, symbol)]

    async def closed_minutes(self, exchange: str, symbols: Sequence[str], since: int) -> dict[str, list[Bar]]:
        if exchange in self.unlisted:
            raise NotListed
        return {
            symbol: [
                bar
                for bar in await self.bars(exchange, symbol, Interval.M1, since, 1 << 40)
                if bar.status is not BarStatus.PROVISIONAL
            ]
            for symbol in symbols
        }

    async def bars(self, exchange: str, symbol: str, interval: Interval, start: int, end: int) -> list[Bar]:
        await self._ask()
        return [bar for bar in self.all_bars(exchange, symbol, interval) if start <= bar.open_time < end]

    async def bar_pages(
        self, exchange: str, symbol: str, interval: Interval, start: int, end: int, rows: int = PAGE
    ) -> AsyncGenerator[list[Bar], None]:
        self.rows.append(rows)
        bars = await self.bars(exchange, symbol, interval, start, end)
        for place in range(0, len(bars), PAGE):
            if place:
                await self._ask()
            yield bars[place : place + PAGE]

    async def _ask(self) -> None:
        self.asked += 1
        await asyncio.sleep(0)
        await self.answers.wait()
        if self.is_away:
            raise ServiceUnavailable("away")

    def all_bars(self, exchange: str, symbol: str, interval: Interval) -> list[Bar]:
        if interval is Interval.S1:
            return [self._status(bar) for bar in fold_bars(self.market(exchange, symbol), interval)]
        minutes = [self._status(bar) for bar in fold_bars(self.market(exchange, symbol), Interval.M1)]
        if interval is Interval.M1:
            return minutes
        buckets: dict[int, list[Bar]] = {}
        for bar in minutes:
            buckets.setdefault(interval.open_time(bar.open_time), []).append(bar)
        return [self._rolled(parts, interval) for _, parts in sorted(buckets.items())]

    def _rolled(self, parts: list[Bar], interval: Interval) -> Bar:
        bar = roll_up(parts, interval)
        is_open = any(part.status is BarStatus.PROVISIONAL for part in parts)
        is_open |= interval.close_time(bar.open_time) > min(time.time(), self.stored_until)
        status = BarStatus.PROVISIONAL if is_open else BarStatus.REVISED if bar.revision else BarStatus.FINAL
        return _with(bar, status=status)

    def _status(self, bar: Bar) -> Bar:
        if bar.open_time >= self.closed_until:
            return _with(bar, status=BarStatus.PROVISIONAL)
        revision = self.revisions.get((bar.exchange, bar.symbol, bar.open_time // 60 * 60), 0)
        return _with(bar, revision=revision, status=BarStatus.REVISED if revision else BarStatus.FINAL)

    async def trades(
        self, exchange: str, symbol: str, start: int, end: int, rows: int = PAGE
    ) -> AsyncGenerator[list[Trade], None]:
        self.rows.append(rows)
        await self._ask()
        if (exchange, symbol) in self.unlisted:
            raise NotListed
        found = [one for one in self.market(exchange, symbol) if start <= one.time < end]
        found.sort(key=lambda one: (one.time, str(one.trade_id)))
        for place in range(0, len(found), PAGE):
            yield found[place : place + PAGE]


def _with(bar: Bar, **fields: Any) -> Bar:
    return Bar(**({name: getattr(bar, name) for name in Bar.__struct_fields__} | fields))


class FakeAuthenticator:
    """Tokens are names of principals. `revoked` are accounts, `over` the tokens that have expired, `lowest` the
    credentials versions by account below which everything has ended."""

    def __init__(self) -> None:
        self.principals: dict[str, Principal] = {}
        self.revoked: set[str] = set()
        self.over: set[str] = set()
        self.lowest: dict[str, int] = {}
        self.is_away = False

    def add(self, name: str, *, scopes: set[Scope] | None = None) -> str:
        wanted = frozenset(scopes if scopes is not None else {Scope.MARKET_READ, Scope.ORDERS_READ})
        self.principals[name] = Principal(
            user_id=f"id-{name}",
            username=name,
            role=Role.USER,
            scopes=wanted,
            session_id=name,
            credentials_version=1,
            expires_at=0,
        )
        return name

    def add_key(self, name: str, version: int = 1) -> str:
        """The account's API key, as it is under this credentials version."""
        key = f"{self.add(name)}-key"
        self.principals[key] = replace(
            self.principals[name], session_id="", api_key_id=key, credentials_version=version
        )
        return key

    def again(self, name: str, *scopes: Scope) -> str:
        """Another token of the same account."""
        token = f"{name}-again"
        self.principals[token] = replace(self.principals[name], session_id=token, scopes=frozenset(scopes))
        return token

    async def authenticate(self, credential: str) -> Principal:
        await asyncio.sleep(0)
        if self.is_away:
            raise ServiceUnavailable("away")
        if credential not in self.principals:
            raise Unauthenticated("The token is not one of ours.")
        self.check(self.principals[credential])
        return self.principals[credential]

    def check(self, principal: Principal) -> None:
        if principal.session_id in self.over:
            raise Unauthenticated("The credential has expired.")
        if principal.username in self.revoked or principal.credentials_version < self.lowest.get(principal.username, 0):
            raise Unauthenticated("The credential has been revoked.")


class Log:
    """The bus: one partition a topic. A hub that starts reads what was written from `kept` on."""

    def __init__(self) -> None:
        self.records: dict[str, list[Record]] = {}
        self.first: dict[str, int] = {}

    def append(self, topic: str, value: Any, age: float = 0.0) -> Record:
        records = self.records.setdefault(topic, [])
        time_ms = int((time.time() - age) * 1000)
        record = Record(topic, 0, self.first.get(topic, 0) + len(records), time_ms, value)
        records.append(record)
        return record

    def forget(self, topic: str, count: int) -> None:
        """The oldest records are gone."""
        self.first[topic] = self.first.get(topic, 0) + count
        del self.records[topic][:count]

    def start_of(self, topic: Any, key: bytes) -> int:
        return self.first.get(topic.name, 0)


class Platform:
    """A hub, and everything around it that a test can turn."""

    def __init__(self, **limits: int):
        self.log = Log()
        self.history = FakeHistory()
        self.authenticator = FakeAuthenticator()
        self.epoch = "e1"
        self.limits = {"per_address": 100, "per_user": 10, "in_all": 1000} | limits
        self.anonymous_read = True
        self.knows_revoked = True
        self.most_backlog = 1024 * 1024
        self.ring = RingSize(10_000, 300.0)
        self.host = "127.0.0.1"
        self.port = 0
        self.has_every_trade = asyncio.Event()
        self.has_every_trade.set()

    async def start(self) -> None:
        """A new hub on a new port, which reads the log from its beginning."""
        self.stop_event = asyncio.Event()
        outbox = Outbox()
        self.hub = Hub(outbox, self.ring)
        founder = self.founder = Founder(self.history, self.has_every_trade.wait)
        directory = Directory(symbol_tables(LISTS))
        self.door = Door(
            outbox,
            Admissions(**self.limits),
            self.authenticator,
            InternalTokens("stream-hub", [SECRET]),
            lambda connection: SESSIONS[connection.hello.path[0]](connection, self.desk),
            anonymous_read=self.anonymous_read,
            most_backlog=self.most_backlog,
        )
        channels = Channels(outbox, self.history, self.door.spawn)
        self.desk = Desk(self.hub, directory, founder, self.history, channels, lambda: self.knows_revoked)
        self.hub.tell(founder.want, self.door.restart_streams)
        self.hub.begin(self.epoch, self.log.start_of)
        for records in self.log.records.values():
            self.hub.take(Arrivals(self.epoch, list(records), 0, True))
        self._running = [
            asyncio.create_task(founder.run(self.stop_event)),
            asyncio.create_task(self.door.run(self.host, 0, self.stop_event, 0.0)),
        ]
        await until(lambda: self.door.port and not founder.missing)
        self.port = self.door.port

    async def stop(self) -> None:
        self.stop_event.set()
        await asyncio.gather(*self._running)

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def publish(self, topic: str, value: Any, age: float = 0.0) -> None:
        record = self.log.append(topic, value, age)
        self.hub.take(Arrivals(self.epoch, [record], 0, True))

    def prune(self, now: float) -> None:
        """Everything is tidied up, as of `now` (Unix s)."""
        for _ in range(PRUNE_PARTS):
            self.hub.prune(now)

    def trades(self, *trades: Trade, stored: bool = True) -> None:
        """Trades of one market as one record; history has them too."""
        if stored:
            self.history.store(trades)
        self.publish("trades", batch_trades(trades, Source.STREAM))

    def book(self, event: Any, age: float = 0.0) -> None:
        """A book's event, written `age` seconds ago."""
        self.publish("books", event, age)

    def close_minute(self, minute: int, *, exchange: str = "binance", symbol: str = "BTC-USDT") -> None:
        """History stores and tells the bars of a minute (Unix s), again if it was closed before."""
        if minute < self.history.closed_until:
            key = (exchange, symbol, minute)
            self.history.revisions[key] = self.history.revisions.get(key, 0) + 1
        self.history.closed_until = max(self.history.closed_until, minute + 60)
        bars = [
            bar
            for interval in (Interval.M1, Interval.S1)
            for bar in self.history.all_bars(exchange, symbol, interval)
            if minute <= bar.open_time < minute + 60
        ]
        if bars:
            self.publish("bars", bars)

    def client(self, path: str, **options: Any) -> connect:
        return connect(f"ws://127.0.0.1:{self.port}{path}", **({"compression": None, "max_queue": None} | options))


def streaming(platform: Platform, query: str = "", name: str = "alice", **fields: Any) -> connect:
    """A client of /ws/v1/stream with a token of its own."""
    token = platform.authenticator.add(name, **fields)
    return platform.client(f"/ws/v1/stream{query}", additional_headers={"Authorization": f"Bearer {token}"})


@contextlib.asynccontextmanager
async def platform(**limits: int) -> AsyncIterator[Platform]:
    running = Platform(**limits)
    await running.start()
    try:
        yield running
    finally:
        await running.stop()


async def until(condition: Any, seconds: float = PATIENCE) -> None:
    """Return once `condition()` holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


loads = partial(json.loads, parse_float=str, parse_int=str)
"""JSON with every number as the text it was sent with."""


async def say(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def hear(socket: ClientConnection, seconds: float = PATIENCE) -> Any:
    """The next message."""
    async with asyncio.timeout(seconds):
        return json.loads(await socket.recv())


async def hear_text(socket: ClientConnection) -> Any:
    """The next message with numbers as their text."""
    async with asyncio.timeout(PATIENCE):
        return loads(await socket.recv())


async def hear_until(socket: ClientConnection, condition: Any, seconds: float = PATIENCE) -> list[Any]:
    """Messages up to the first for which `condition(message)` holds."""
    heard: list[Any] = []
    async with asyncio.timeout(seconds):
        while not heard or not condition(heard[-1]):
            heard.append(json.loads(await socket.recv()))
    return heard


async def silence(socket: ClientConnection, seconds: float = 0.15) -> bool:
    """Whether nothing comes for a while, and nothing was on its way on a machine that is slow."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await socket.recv()
        return False
    await say(socket, action="ping")
    return bool(await hear(socket) == {"type": "pong"})


async def closed(socket: ClientConnection, seconds: float = PATIENCE) -> tuple[int, list[Any]]:
    """The closing code, and what was said before."""
    heard: list[Any] = []
    async with asyncio.timeout(seconds):
        try:
            while True:
                heard.append(json.loads(await socket.recv()))
        except ConnectionClosed:
            return int(socket.close_code or 0), heard


def minute_of(nanoseconds: int) -> int:
    return nanoseconds // NANOSECONDS // 60 * 60
