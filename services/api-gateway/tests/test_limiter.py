"""The limiter and its connection to Redis: shared, alone, refused, and lost at any moment."""

from __future__ import annotations

import asyncio
import re
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from crosstape.api_gateway import redis_pipe
from crosstape.api_gateway.limiter import Limiter
from crosstape.api_gateway.rates import Rate, take
from crosstape.api_gateway.redis_pipe import open_pipe
from crosstape.common.testing.background import working
from tests.engines.certificates import Authority

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]

RUNBOOK = Path(__file__).parents[3] / "docs/runbooks/limiter-not-shared.md"
SCRIPT = files("crosstape.api_gateway").joinpath("gcra.lua").read_text()


def shared(*limiters: Limiter) -> Callable[[], Awaitable[bool]]:
    async def are_shared() -> bool:
        return all(limiter.is_shared for limiter in limiters)

    return are_shared


@asynccontextmanager
async def counting(url: str, eventually: Any) -> AsyncIterator[Limiter]:
    """A limiter that counts in Redis."""
    limiter = Limiter(url)
    async with working(limiter.run):
        await eventually(shared(limiter))
        yield limiter


async def test_redis_is_trusted_by_the_authority_that_its_url_names(tmp_path: Path) -> None:
    authority = Authority(tmp_path, names_key=True)
    signed = authority.sign("redis")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(signed.certificate, signed.key)

    async def answer(reader: Any, writer: Any) -> None:
        assert await reader.readuntil(b"\r\n2\r\n") == b"*2\r\n$6\r\nSELECT\r\n$1\r\n2\r\n"
        writer.write(b"+OK\r\n")

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        url = f"rediss://127.0.0.1:{server.sockets[0].getsockname()[1]}/2"
        with pytest.raises(ssl.SSLCertVerificationError):
            await open_pipe(url)
        pipe = await open_pipe(f"{url}?ssl_ca_certs={authority.file}")
        pipe.close()


async def test_the_loop_goes_on_while_authorities_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    went_on = threading.Event()

    def read(url: str) -> None:
        assert went_on.wait(10)

    monkeypatch.setattr(redis_pipe, "redis_tls", read)
    asyncio.get_running_loop().call_soon(went_on.set)
    with pytest.raises(ConnectionRefusedError):
        await open_pipe("redis://127.0.0.1:1/0")


async def test_the_script_is_the_same_rule(valkey: Any) -> None:
    async with Redis.from_url(valkey.url) as redis:
        script = redis.register_script(SCRIPT)
        rate, full_at, sent = Rate(0.001, 5, 1_000_000_000), 0.0, []
        costs = [1, 2, 3, 1, 1, 1, 5]
        await redis.delete("same-rule")
        for cost in costs:
            full_at, debt, early = take(full_at, 0, rate, cost)
            sent.append((debt, early))
        arguments = [word for cost in costs for word in (rate.interval, rate.burst, cost)]
        answer = await script(keys=["same-rule"] * len(costs), args=arguments)
        assert list(struct.iter_unpack("<dd", answer)) == sent
        left = await redis.pttl("same-rule")
        assert 0 < left <= 5 * rate.interval // 1000 + 1, "an unused bucket goes by itself"


async def test_many_at_once_take_exactly_what_there_is(valkey: Any, eventually: Any) -> None:
    async with Redis.from_url(valkey.url) as redis:
        await redis.delete("crosstape:{limit}:many")
        limiters = [Limiter(valkey.url), Limiter(valkey.url)]
        async with working(*(limiter.run for limiter in limiters)):
            await eventually(shared(*limiters))
            rate = Rate.of(0.001, 100)
            verdicts = await asyncio.gather(*(limiters[n % 2].take("many", rate) for n in range(500)))
            assert sum(not told.retry_after for told in verdicts) == 100
            assert {told.limit for told in verdicts} == {100}


async def test_without_redis_the_process_counts_alone_and_comes_back(own_valkey: Any, eventually: Any) -> None:
    async with counting(own_valkey.url, eventually) as limiter:
        own_valkey.kill()
        rate = Rate.of(0.001, 10)
        verdicts = [await limiter.take("alone", rate) for _ in range(20)]
        assert not limiter.is_shared
        assert sum(not told.retry_after for told in verdicts) == 10
        await own_valkey.restart()
        await eventually(shared(limiter))
        assert (await limiter.take("alone", rate)).remaining == 9


async def test_who_asks_in_the_moment_of_the_connections_end_is_counted_here(valkey: Any, eventually: Any) -> None:
    loop = asyncio.get_running_loop()
    limiter, stop, faults = Limiter(valkey.url), asyncio.Event(), list[Any]()
    running = asyncio.create_task(limiter.run(stop))

    async def pipe() -> Any:
        return limiter._pipe

    connection = await eventually(pipe)
    loop.set_exception_handler(lambda loop, fault: faults.append(fault))
    asked: asyncio.Future[Any] = loop.create_future()
    loop.call_soon(lambda: asked.set_result(limiter.take("last", Rate.of(0.001, 10))))
    connection.close()
    assert (await (await asked)).remaining == 9
    stop.set()
    await running
    loop.set_exception_handler(None)
    assert not faults


async def test_a_script_that_redis_has_forgotten_is_given_again(own_valkey: Any, eventually: Any) -> None:
    async with counting(own_valkey.url, eventually) as limiter:
        async with Redis.from_url(own_valkey.url) as redis:
            await redis.script_flush()
        assert (await limiter.take("flushed", Rate.of(1, 5))).remaining == 4
        await eventually(shared(limiter))
        assert (await limiter.take("flushed", Rate.of(0.001, 5))).remaining == 4


async def test_password_and_database_are_those_of_the_url_and_the_rights_of_the_runbook_do(
    own_valkey: Any, eventually: Any
) -> None:
    commands, keys = re.findall(r"`(\+[^`]+)` on\s+`([^`]+)`", RUNBOOK.read_text())[0]
    async with Redis.from_url(own_valkey.url) as redis:
        await redis.acl_setuser("limits", enabled=True, passwords=["+secret"], keys=[keys], commands=commands.split())
    url = own_valkey.url.replace("redis://", "redis://limits:secret@").removesuffix("0") + "3"
    async with counting(url, eventually) as limiter:
        await limiter.take("there", Rate.of(0.001, 5))
        async with Redis.from_url(own_valkey.url.removesuffix("0") + "3") as redis:
            assert await redis.exists("crosstape:{limit}:there")


@pytest.mark.parametrize(
    "refusal", [b"NOPERM this user has no permissions", b"READONLY You can't write against a read only replica."]
)
async def test_a_redis_that_refuses_the_script_is_away_and_its_own_words_are_told_once(
    refusal: bytes, monkeypatch: pytest.MonkeyPatch, eventually: Any
) -> None:
    connections = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while data := await reader.read(64 * 1024):
            digest = b"$2\r\nab\r\n"
            writer.write(digest if b"LOAD" in data else b"-" + refusal + b"\r\n")
        writer.close()

    monkeypatch.setattr("crosstape.api_gateway.limiter.RETRY_SECONDS", 0.01)
    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        limiter = Limiter(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
        stop = asyncio.Event()
        with capture_logs() as lines:
            running = asyncio.create_task(limiter.run(stop))

            async def has_tried_often() -> bool:
                assert not limiter.is_shared
                await limiter.take("x", Rate.of(1, 5))
                return connections > 3

            await eventually(has_tried_often)
            stop.set()
            await running
    assert [line for line in lines if line["event"].startswith("limits_")] == [
        {"event": "limits_away", "error": refusal.decode(), "log_level": "warning"}
    ]


async def test_the_arguments_that_a_redis_repeats_are_not_told() -> None:
    async def know_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1024)
        writer.write(b"-ERR unknown command 'AUTH', with args beginning with: 'secret' \r\n")

    async with await asyncio.start_server(know_nothing, "127.0.0.1", 0) as server:
        with pytest.raises(ConnectionError) as refused:
            await open_pipe(f"redis://:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/0")
    assert str(refused.value) == "ERR unknown command 'AUTH'"


async def test_a_redis_that_hangs_delays_nobody_for_long(eventually: Any) -> None:
    async def say_nothing(reader: Any, writer: Any) -> None:
        await reader.read()
        writer.close()

    silent = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with silent:
        limiter = Limiter(f"redis://127.0.0.1:{silent.sockets[0].getsockname()[1]}/0")
        stop = asyncio.Event()
        running = asyncio.create_task(limiter.run(stop))
        async with asyncio.timeout(2):
            assert (await limiter.take("x", Rate.of(1, 5))).remaining == 4
        stop.set()
        await running
