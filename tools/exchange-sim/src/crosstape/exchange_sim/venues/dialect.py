"""What every exchange's dialect offers the server, and the little they share."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, ClassVar

import msgspec

from crosstape.exchange_sim.channel_key import ChannelKey
from crosstape.exchange_sim.clock import ExchangeClock
from crosstape.exchange_sim.feed import Channel, Feed
from crosstape.exchange_sim.instruments import Kind
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.session import Session
from crosstape.exchange_sim.trade_history import Trade

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

Markets = Mapping[tuple[Kind, str], Market]
Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `body` is JSON already."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def answer(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Answer:
    return Answer(msgspec.json.encode(body), status, headers or {})


class Dialect(ABC):
    """One exchange's public protocol. Stateless but for its markets: sockets and subscriptions live outside.

    Every `now_ns` it is given is the exchange's clock as it tells it (see clock.py). `spoil_pattern`
    captures the number that the `checksum` fault falsifies.
    """

    exchange: ClassVar[str]
    spoil_pattern: ClassVar[re.Pattern[bytes]]

    def __init__(self, markets: Markets, clock: ExchangeClock) -> None:
        self.markets = markets
        self.clock = clock

    @abstractmethod
    def rest(self, address: str, path: str, query: Query, now_ns: int) -> Answer:
        """`address` is `spot.rest` and the like; `path` is what follows it, with its leading slash."""

    def greet(self, session: Session, query: Query, feed: Feed, now_ns: int) -> None:  # noqa: B027 (most say nothing)
        """A socket was opened."""

    @abstractmethod
    def receive(self, session: Session, text: str, feed: Feed, now_ns: int) -> None: ...

    @abstractmethod
    def channel(self, key: ChannelKey) -> Channel: ...

    @abstractmethod
    def refused(self, status: int) -> Answer:
        """The exchange's own body for 429 and 5xx."""

    def native_id(self, market: Market, number: int) -> str:
        """The trade id as the exchange writes it."""
        return market.native_ids.get(number) or str(number)

    def number_of(self, market: Market, native_id: str) -> int:
        """The inverse of `native_id`; ValueError where it is none of this market's."""
        if market.native_ids:
            for number, one in market.native_ids.items():
                if one == native_id:
                    return number
        return int(native_id)

    def find(self, kind: Kind, symbol: str) -> Market | None:
        """The market of a native symbol, any case."""
        return self.markets.get((kind, symbol.upper()))

    def time_ns(self, trade: Trade) -> int:
        """When the exchange says the trade was."""
        return self.clock.told(trade.time_ns)


def integer(query: Query, name: str, default: int, *, most: int | None = None) -> int:
    """A whole-number parameter, ValueError where it is not one; capped at `most` as the exchanges do."""
    value = int(query.get(name) or default)
    return value if most is None else min(value, most)


def iso(time_ns: int) -> str:
    """`2023-09-25T07:49:37.708706Z`"""
    seconds, rest = divmod(time_ns, NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest // 1000:06d}Z"


def json_object(text: str) -> dict[str, Any] | None:
    try:
        decoded = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        return None
    return decoded if isinstance(decoded, dict) else None
