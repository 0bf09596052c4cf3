"""The hub as `bench.fanout_hub` runs it: its own parts, with one market, and everybody let in."""

from __future__ import annotations

import asyncio
from typing import Any

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.identity.principal import Principal, Role, Scope
from crosstape.common.identity.services import STREAM_HUB
from crosstape.common.market.instrument import Instrument
from crosstape.common.testing.builders import symbol_tables
from crosstape.stream_hub.channels import Channels
from crosstape.stream_hub.connection import Connection
from crosstape.stream_hub.desk import Desk
from crosstape.stream_hub.directory import Directory
from crosstape.stream_hub.door import Door
from crosstape.stream_hub.fanout import Outbox
from crosstape.stream_hub.founding import Founder
from crosstape.stream_hub.hub import Hub
from crosstape.stream_hub.limits import Admissions
from crosstape.stream_hub.market import MarketState, RingSize
from crosstape.stream_hub.stream_session import StreamSession

MOST = 50_000


class _Everybody:
    async def authenticate(self, credential: str) -> Principal:
        return Principal(
            user_id="u", username="u", role=Role.QUANT, scopes=frozenset(Scope), credentials_version=1, expires_at=0
        )

    def check(self, principal: Principal) -> None:
        """Nobody is revoked."""


async def _has_every_trade() -> None:
    """There is no log."""


async def open_door() -> tuple[MarketState, Door, list[Connection], asyncio.Task[None]]:
    """A market to publish in, the door behind which its subscribers are, and these as they come."""
    sockets: list[Connection] = []
    outbox = Outbox()
    nobody: Any = None  # trades ask no history
    everybody: Any = _Everybody()
    hub = Hub(outbox, RingSize(10_000, 300.0))
    directory = Directory(symbol_tables({"binance": [Instrument("binance", "BTCUSDT", "BTC", "USDT")]}))

    def session(connection: Connection) -> StreamSession:
        sockets.append(connection)
        return StreamSession(connection, desk)

    door = Door(
        outbox,
        Admissions(MOST, MOST, MOST),
        everybody,
        InternalTokens(STREAM_HUB, ["x" * 32]),
        session,
        anonymous_read=True,
        most_backlog=8 * 1024 * 1024,
    )
    founder = Founder(nobody, _has_every_trade)
    desk = Desk(hub, directory, founder, nobody, Channels(outbox, nobody, door.spawn), lambda: True)
    serving = asyncio.create_task(door.run("127.0.0.1", 0, asyncio.Event(), 0.0))
    while not door.port:
        await asyncio.sleep(0.01)
    return hub.market("binance", "BTC-USDT"), door, sockets, serving
