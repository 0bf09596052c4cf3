"""A service's answer means the same however its bytes are cut into reads."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.api_gateway.service_connection import HIGH_WATER, Broken, ServiceConnection

HEAD = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n"
BODY = bytes(range(256)) * 20
ANSWERS = {
    HEAD % len(BODY) + BODY: BODY,
    b"HTTP/1.1 103 Early Hints\r\ncontent-length: 7\r\n\r\n" + HEAD % 300 + BODY[:300]: BODY[:300],
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nx-t: 1\r\n\r\n": b"abcde",
    HEAD % 0: b"",
    b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n": b"",
}
cuts = st.lists(st.integers(1, 6000), max_size=8)


def asked() -> ServiceConnection:
    """A connection without a socket that has sent a request."""
    connection = ServiceConnection(lambda lost: None)
    transport: Any = SimpleNamespace(is_ended=False, get_write_buffer_size=lambda: 0, write=lambda data: None)
    transport.is_closing = lambda: transport.is_ended
    transport.abort = lambda: setattr(transport, "is_ended", True)
    connection.transport = transport
    connection.begin(b"")
    return connection


def receive(connection: ServiceConnection, data: bytes, sizes: Sequence[int] = ()) -> None:
    """`data` in reads of these sizes, the rest at once, as far as there is room for it."""
    left = [*reversed(sizes)]
    while data and not connection.transport.is_closing():
        room = connection.get_buffer(-1)
        count = min(left.pop() if left else len(data), len(data), len(room))
        room[:count] = data[:count]
        connection.buffer_updated(count)
        data = data[count:]


async def body_of(connection: ServiceConnection) -> bytes:
    await connection.head()
    body = b""
    while part := await connection.part():
        body += part
    return body


@given(st.sampled_from([*ANSWERS]), cuts)
def test_an_answer_is_whole_however_it_comes_and_another_may_follow(answer: bytes, sizes: list[int]) -> None:
    async def ask() -> None:
        connection = asked()
        for _ in range(2):
            receive(connection, answer, sizes)
            assert await body_of(connection) == ANSWERS[answer]
            assert connection.is_reusable
            connection.begin(b"")

    asyncio.run(ask())


@given(st.sampled_from([*ANSWERS]), cuts, st.sampled_from([b"x", HEAD % 6 + b"poison"]))
def test_what_comes_after_an_answer_ends_the_connection(answer: bytes, sizes: list[int], more: bytes) -> None:
    async def ask() -> None:
        connection = asked()
        receive(connection, answer + more, sizes)
        assert await body_of(connection) == ANSWERS[answer]
        assert not connection.is_reusable
        assert connection.transport.is_closing()

    asyncio.run(ask())


@pytest.mark.parametrize("sizes", [[], [120], [10] * 20])
async def test_a_connection_that_speaks_another_protocol_is_never_asked_again(sizes: list[int]) -> None:
    connection = asked()
    connection.transport.pause_reading = lambda: None  # type: ignore[method-assign]
    head = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\ncontent-length: 50\r\n\r\n"
    receive(connection, head + bytes(50), sizes)
    await connection.head()
    assert connection.status == 101
    assert not connection.is_reusable


@given(st.integers(1, len(BODY)), cuts)
def test_an_answer_that_breaks_off_is_none(lacking: int, sizes: list[int]) -> None:
    async def ask() -> None:
        connection = asked()
        receive(connection, (HEAD % len(BODY) + BODY)[:-lacking], sizes)
        connection.connection_lost(None)
        with pytest.raises(Broken):
            await connection.head()

    asyncio.run(ask())


async def test_who_waits_for_a_short_answer_is_woken_once_and_for_a_long_one_with_its_head() -> None:
    for length, needed in ((5000, 5000), (HIGH_WATER + 1, 0)):
        connection = asked()
        waiting = asyncio.create_task(connection.head())
        sent = 0
        for size in (0, 4000, 1000):
            receive(connection, (HEAD % length if size == 0 else bytes(size)))
            sent += size
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert waiting.done() == (sent >= needed)
        await waiting
