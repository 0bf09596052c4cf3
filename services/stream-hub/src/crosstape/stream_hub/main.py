"""Wiring: settings to the bus, the state, the door and the app. Nothing here decides anything."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import aiohttp
import structlog
from redis.asyncio import Redis

from crosstape.common.identity.authenticator import Authenticator
from crosstape.common.identity.revocations import RevocationFeed, Revocations
from crosstape.common.identity.services import STREAM_HUB
from crosstape.common.market_lists import MarketLists
from crosstape.common.runtime.health import Check, Health
from crosstape.common.runtime.lifecycle import Work, run_service
from crosstape.common.runtime.settings import read_settings
from crosstape.common.symbols import SymbolTables
from crosstape.common.waiting import unless_stopped
from crosstape.stream_hub.api import create_app
from crosstape.stream_hub.books_session import BooksSession
from crosstape.stream_hub.channels import Channels
from crosstape.stream_hub.connection import Connection, Session
from crosstape.stream_hub.cvd_session import CvdSession
from crosstape.stream_hub.desk import Desk
from crosstape.stream_hub.directory import Directory
from crosstape.stream_hub.door import Door
from crosstape.stream_hub.fanout import Outbox
from crosstape.stream_hub.following import Following
from crosstape.stream_hub.founding import Founder
from crosstape.stream_hub.history import History
from crosstape.stream_hub.hub import Hub
from crosstape.stream_hub.limits import Admissions
from crosstape.stream_hub.market import RingSize
from crosstape.stream_hub.settings import HubSettings
from crosstape.stream_hub.stream_session import StreamSession

log = structlog.get_logger(__name__)

POLL_SECONDS = 0.1
SESSIONS: Mapping[str, Callable[[Connection, Desk], Session]] = {
    "books": BooksSession,
    "cvd": CvdSession,
    "stream": StreamSession,
}


def main() -> None:
    """Run the service as its environment says."""
    settings = read_settings(HubSettings)
    run_service(STREAM_HUB, settings, partial(build, settings))


async def build(settings: HubSettings, stop: asyncio.Event) -> tuple[Any, Sequence[Work]]:
    """The app and the work of the process."""
    session = aiohttp.ClientSession()
    redis = Redis.from_url(settings.redis_url)
    tokens = settings.internal_tokens(STREAM_HUB)
    revocations = Revocations()
    feed = RevocationFeed(redis, revocations)
    authenticator = Authenticator(settings.auth_url, session, tokens, revocations)
    history = History(settings.history_url, session, tokens)
    outbox = Outbox()
    hub = Hub(outbox, RingSize(settings.ring_trades, settings.ring_seconds))
    following = Following(settings.bus, hub, settings.ring_seconds)
    founder = Founder(history, following.has_every_trade)
    lists = MarketLists(settings.history_url, session, tokens)

    def make_session(connection: Connection) -> Session:
        return SESSIONS[connection.hello.path[0]](connection, desk)

    door = Door(
        outbox,
        Admissions(settings.hub_sockets_per_address, settings.sockets_per_account, settings.sockets),
        authenticator,
        tokens,
        make_session,
        anonymous_read=settings.anonymous_read,
        most_backlog=settings.backlog_bytes,
        allowed_origins=settings.cors_origins,
    )
    channels = Channels(outbox, history, door.spawn)
    desk = Desk(hub, Directory(lists.tables), founder, history, channels, lambda: feed.is_fresh)
    hub.tell(founder.want, door.restart_streams)
    health = Health(needs=("bus", "markets", "streams"), stopping=stop)
    health.watch("bus", following.check)
    health.watch("markets", partial(_markets, founder, lists.tables))
    health.watch("streams", lambda: Check(is_up=door.port > 0, detail={"port": door.port}))
    health.watch("revocations", lambda: Check(is_up=feed.is_fresh))

    async def work(stop: asyncio.Event) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for part in (following.run, founder.run, lists.run, authenticator.run, feed.run):
                    group.create_task(part(stop))
                if await unless_stopped(
                    stop, can_tell(settings.ready_seconds, following.caught_up, founder, lists.tables)
                ):
                    await door.run(settings.host, settings.stream_port, stop, settings.drain_seconds)
        finally:
            await redis.aclose()
            await session.close()

    return create_app(desk, tokens, health, anonymous_read=settings.anonymous_read), [work]


def _markets(founder: Founder, tables: SymbolTables) -> Check:
    return Check(
        is_up=tables.is_known, detail={"without_history": founder.missing, "exchanges_without_list": tables.missing}
    )


async def can_tell(seconds: float, caught_up: asyncio.Event, founder: Founder, tables: SymbolTables) -> bool:
    """Return once there is something to tell: the log is read, the markets in it are founded, and every exchange's
    list is known; or, as the rest heals by itself, when that takes more than `seconds`."""
    await caught_up.wait()
    try:
        async with asyncio.timeout(seconds):
            while founder.missing or not tables.is_whole:
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError:
        log.warning("ready_without_history", markets=founder.missing, exchanges=tables.missing)
    return True
