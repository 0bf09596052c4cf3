"""Orders of deleted accounts: cancelled once auth says so, and nobody else's, whatever else is in the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import web
from twap_world import ALPHA, Ledger, Replica, TestClock, make_order, snapshot

from crosstape.cli.ports import LOOPBACK, free_port
from crosstape.common.identity.authenticator import ABSENT_USERS_PATH
from crosstape.common.identity.internal import HEADER, InternalTokens
from crosstape.common.identity.services import AUTH
from crosstape.common.testing.identity import INTERNAL_SECRET
from crosstape.twap_engine import accounts
from crosstape.twap_engine.accounts import Accounts
from crosstape.twap_engine.order import ParentOrder
from crosstape.twap_engine.store import cancel as store

WAIT_SECONDS = 10.0


class StandIn:
    """What the engine asks of auth, on a port of its own: accounts that are `gone`, and questions that were `asked`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.gone: set[str] = set()
        self.asked: list[list[str]] = []
        self.answer: Callable[[list[str]], web.Response] = self._absent
        self._tokens = InternalTokens(AUTH, [INTERNAL_SECRET])

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    def _absent(self, user_ids: list[str]) -> web.Response:
        return web.json_response({"absent": sorted(self.gone & set(user_ids))})

    async def _handle(self, request: web.Request) -> web.Response:
        assert self._tokens.verify(request.headers[HEADER]).is_service
        self.asked.append((await request.json())["user_ids"])
        return self.answer(self.asked[-1])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        app = web.Application()
        app.router.add_post(ABSENT_USERS_PATH, self._handle)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, self.port).start()
            yield
        finally:
            await runner.cleanup()


class Platform:
    """Replicas on one database, each with its look at the accounts; all of them trade on the same book."""

    def __init__(self, url: str, count: int, session: aiohttp.ClientSession):
        self.auth, self.clock = StandIn(), TestClock()
        self.replicas = [Replica(url, self.clock) for _ in range(count)]
        tokens = InternalTokens("twap-engine", [INTERNAL_SECRET])
        self.accounts = [
            Accounts(one.database, one.engine, self.clock, self.auth.url, session, tokens) for one in self.replicas
        ]
        for one in self.replicas:
            one.see(snapshot(ALPHA, [("29980", "5")], [("29990", "50")], self.clock.utc()))

    async def submit(self, user_id: str, *names: str, at: int = 0) -> list[ParentOrder]:
        return [await self.replicas[at].submit(make_order(name, self.clock, user_id=user_id)) for name in names]

    async def pass_time(self, seconds: int) -> None:
        """Every slice that is due now, and in the seconds after."""
        for second in range(seconds + 1):
            self.clock.advance(min(second, 1))
            for one in self.replicas:
                await one.work()

    async def ledger(self) -> Ledger:
        ledger = await Ledger(self.replicas[0].database).read()
        ledger.check()
        return ledger

    async def statuses(self) -> list[tuple[str, str]]:
        return [(row.user_id, row.status) for row in (await self.ledger()).orders]


@asynccontextmanager
async def platform(url: str, replicas: int = 1) -> AsyncIterator[Platform]:
    async with aiohttp.ClientSession() as session:
        found = Platform(url, replicas, session)
        for one in found.replicas:
            await one.work()
        yield found
        for one in found.replicas:
            await one.close()


@asynccontextmanager
async def looking(found: Platform, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """The first replica's loop, quick."""
    monkeypatch.setattr(accounts, "LOOK_SECONDS", 0.02)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(found.accounts[0].run(stop))
        yield
        stop.set()


async def until(holds: Callable[[], Any]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


def events(entries: Sequence[Any]) -> list[str]:
    return [entry["event"] for entry in entries]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def url(request: pytest.FixtureRequest) -> str:
    """A database of this test alone."""
    if request.param == "sqlite":
        return str(request.getfixturevalue("sqlite_url"))
    return str(request.getfixturevalue("new_postgres_url")())


async def test_open_orders_of_a_deleted_account_are_cancelled_and_nobody_elses(url: str, logged: list[Any]) -> None:
    async with platform(url, replicas=2) as found, found.auth.running():
        await found.submit("gone", "a", "b")
        await found.submit("gone", "c", at=1)
        await found.submit("here", "a")
        await found.pass_time(2)
        before = await found.ledger()
        assert {row.status for row in before.orders} == {"open"}
        assert before.fills
        found.auth.gone = {"gone", "somebody without orders"}
        await asyncio.gather(*(one.step() for one in found.accounts))
        after = await found.ledger()  # which holds that each was told of once
        cancelled, here = after.orders[:3], after.orders[3]
        assert {(row.user_id, row.close_reason, row.closed_at) for row in cancelled} == {
            ("gone", "cancelled", found.clock.utc())
        }
        assert (after.slices, after.fills) == (before.slices, before.fills)
        await found.pass_time(4)
        ended = await found.ledger()
        assert ended.orders[:3] == cancelled
        assert ended.orders[3].close_reason == "completed"
        assert [s.number for s in ended.slices if s.parent == here.id] == [*range(6)]
        assert [s for s in ended.slices if s.parent != here.id] == [s for s in before.slices if s.parent != here.id]
        told = [entry for entry in logged if entry["event"] == "orders_of_deleted_account_cancelled"]
        assert {entry["user_id"] for entry in told} == {"gone"}
        assert sum(entry["orders"] for entry in told) == 3


async def test_while_auth_is_away_orders_go_on_and_end_once_it_is_back(
    sqlite_url: str, logged: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with platform(sqlite_url) as found, looking(found, monkeypatch):
        found.auth.gone = {"gone"}
        await found.submit("gone", "a")
        await until(lambda: "accounts_not_checked" in events(logged))
        await found.pass_time(2)
        assert len((await found.ledger()).slices) == 3
        async with found.auth.running():  # without its database for a while
            usual, found.auth.answer = found.auth.answer, lambda _: web.Response(status=503)
            await until(lambda: len(found.auth.asked) > 2)
            assert await found.statuses() == [("gone", "open")]
            found.auth.answer = usual
            await until(lambda: "orders_of_deleted_account_cancelled" in events(logged))
        assert await found.statuses() == [("gone", "cancelled")]
    assert events(logged).count("accounts_not_checked") == 1
    assert INTERNAL_SECRET not in str(logged)


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: web.Response(status=401),
        lambda _: web.Response(status=404),
        lambda _: web.Response(status=503),
        lambda _: web.Response(body=b"{}"),
        lambda _: web.Response(body=b'{"absent": ["here'),
        lambda _: web.json_response({"absent": "here"}),
        lambda _: web.json_response({"absent": ["not asked about"]}),
    ],
    ids=["refused", "no such path", "no database", "no list", "cut off", "no list of names", "others"],
)
async def test_what_is_no_answer_takes_nobody_for_gone(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, answer: Callable[[list[str]], web.Response]
) -> None:
    async with platform(sqlite_url) as found, found.auth.running():
        usual, found.auth.answer, found.auth.gone = found.auth.answer, answer, {"gone"}
        await found.submit("here", "a")
        await found.submit("gone", "a")
        async with looking(found, monkeypatch):
            await until(lambda: len(found.auth.asked) > 1)
            assert await found.statuses() == [("here", "open"), ("gone", "open")]
            found.auth.answer = usual
            asked = len(found.auth.asked)
            await until(lambda: len(found.auth.asked) > asked + 1)
        assert await found.statuses() == [("here", "open"), ("gone", "cancelled")]


async def test_however_many_there_are_every_question_and_every_transaction_is_bounded(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts, "MOST_USERS", 2)
    monkeypatch.setattr(store, "AT_ONCE", 2)
    async with platform(sqlite_url) as found, found.auth.running():
        for user_id in ("one", "two", "three"):
            await found.submit(user_id, *"abcde")
        found.auth.gone = {"one", "three"}
        await found.accounts[0].step()
        assert sorted(map(len, found.auth.asked)) == [1, 2]
        assert sorted(user_id for asked in found.auth.asked for user_id in asked) == ["one", "three", "two"]
        assert set(await found.statuses()) == {("one", "cancelled"), ("two", "open"), ("three", "cancelled")}


async def test_nobody_is_asked_about_while_no_order_is_open(sqlite_url: str) -> None:
    async with platform(sqlite_url) as found, found.auth.running():
        (order,) = await found.submit("user-1", "a")
        await found.replicas[0].cancel(order)
        await found.accounts[0].step()
        assert found.auth.asked == []
