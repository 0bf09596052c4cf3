"""What `record` asks an exchange's REST for: at its pace, and never longer than the recording goes on."""

from __future__ import annotations

import asyncio
import errno
import gzip
import io
import os
import resource
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from crosstape.common.market.instrument import Instrument
from crosstape.exchanges import dialect_of
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor import record
from crosstape.ingestor.record import Lines, new_file, note_book

BINANCE = dialect_of("binance")
MARKET = Instrument("binance", "BTCUSDT", "BTC", "USDT")


@asynccontextmanager
async def serving(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app) as server:
        yield str(server.make_url("/"))


async def test_a_ban_is_kept_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[str] = []

    async def ban(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=418, text="banned", headers={"Retry-After": "7200"})

    output = io.BytesIO()
    async with serving(ban) as origin, aiohttp.ClientSession() as session:
        rest = ExchangeRest(BINANCE, origin, session)
        for _ in range(3):
            await note_book(BINANCE, MARKET, rest, Lines(output, asyncio.Event()))
    assert len(asked) == 1
    assert output.getvalue() == b""
    assert capsys.readouterr().err.count("no book of BTC-USDT") == 3


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def markets(rest: ExchangeRest) -> list[Instrument]:
        return [MARKET]

    monkeypatch.setattr(ExchangeRest, "markets", markets)


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("name", ["kept.jsonl", "kept.jsonl.gz"])
def test_a_recording_that_is_there_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    file = tmp_path / name
    file.write_bytes(b"three days of frames")
    monkeypatch.setattr(sys, "argv", ["record", "binance", "BTC-USDT", "--out", str(file)])
    with pytest.raises(SystemExit, match=rf"{name} is there already: name another file"):
        record.main()
    monkeypatch.setattr(sys, "argv", ["record", "binance", "NOPE-USDT", "--out", str(file)])
    with pytest.raises(SystemExit) as ended:
        record.main()
    assert "no symbol NOPE-USDT" in str(ended.value) and "ends there" not in str(ended.value)
    assert file.read_bytes() == b"three days of frames"


@pytest.mark.usefixtures("listed")
@pytest.mark.parametrize("words", [["binance", "NOPE-USDT"], ["nowhere", "BTC-USDT"]])
def test_a_recording_that_cannot_begin_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["record", *words, "--out", str(tmp_path / "new.jsonl")])
    with pytest.raises(SystemExit, match=r"no symbol NOPE-USDT|Unknown exchange: nowhere"):
        record.main()
    assert not any(tmp_path.iterdir())


def test_an_interrupt_ends_it_while_the_exchange_is_asked_for_its_markets() -> None:
    async def interrupt(request: web.Request) -> web.Response:
        os.kill(os.getpid(), signal.SIGINT)
        return web.Response(status=503)

    async def interrupted() -> None:
        async with serving(interrupt) as origin, asyncio.timeout(5):
            await record.record(BINANCE, ["BTC-USDT"], origin, nullcontext(io.BytesIO()))

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(interrupted())


@pytest.mark.usefixtures("listed")
async def test_an_interrupt_ends_it_while_a_book_is_awaited() -> None:
    is_asked, never = asyncio.Event(), asyncio.Event()

    async def hang(request: web.Request) -> web.StreamResponse:
        if "stream" in request.path:
            socket = web.WebSocketResponse()
            await socket.prepare(request)
            await socket.send_str("{}")
            async for _ in socket:
                pass
            return socket
        is_asked.set()
        await never.wait()
        return web.Response()

    output = io.BytesIO()
    async with serving(hang) as origin, asyncio.timeout(10):
        recording = asyncio.create_task(record.record(BINANCE, ["BTC-USDT"], origin, nullcontext(output)))
        await is_asked.wait()
        os.kill(os.getpid(), signal.SIGINT)
        assert await recording >= 1
        never.set()
    directions = [msgspec.json.decode(line)["dir"] for line in output.getvalue().splitlines()]
    assert sorted(directions) == ["in", "open"]


async def _busy(request: web.Request) -> web.StreamResponse:
    """An exchange that says something all the time, and knows no book."""
    if "stream" not in request.path:
        return web.Response(status=404)
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    while not socket.closed:
        await socket.send_str("{}")
        await asyncio.sleep(0)
    return socket


class _Full(io.BytesIO):
    """Takes a hundred writes."""

    refused = 0

    def write(self, data: Any, /) -> int:
        if self.getvalue().count(b"\n") < 100:
            return super().write(data)
        self.refused += 1
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.usefixtures("listed")
async def test_a_full_disk_ends_it_at_the_first_line_that_is_not_written() -> None:
    output = _Full()
    async with serving(_busy) as origin, asyncio.timeout(10):
        with pytest.raises(OSError, match="No space left on device"):
            await record.record(BINANCE, ["BTC-USDT"], origin, nullcontext(output))
    assert output.refused == 1


class _Gone(io.StringIO):
    """The standard output of a recorder that nobody reads any more once it has told of frames."""

    def write(self, text: str, /) -> int:
        if '"frames":' in text and '"frames":0,' not in text:
            raise BrokenPipeError
        return len(text)


@pytest.mark.usefixtures("listed")
async def test_a_recording_whose_starter_was_killed_ends_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "REPORT_SECONDS", 0.01)
    monkeypatch.setattr(sys, "stdout", _Gone())
    file = tmp_path / "kept.jsonl.gz"
    async with serving(_busy) as origin, asyncio.timeout(10):
        frames = await record.record(BINANCE, ["BTC-USDT"], origin, new_file(file))
    with gzip.open(file) as lines:
        directions = Counter(msgspec.json.decode(line)["dir"] for line in lines)
    assert directions == {"open": 1, "in": frames}


@contextmanager
def _largest_file(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", ["kept.jsonl", "kept.jsonl.gz"])
def test_what_was_written_before_the_disk_was_full_can_be_read(tmp_path: Path, name: str) -> None:
    ended = asyncio.Event()
    with pytest.raises(OSError, match="too large"), new_file(tmp_path / name) as output:
        lines = Lines(output, ended)
        with _largest_file(100_000):
            while not ended.is_set():
                lines.write(1, "in", "wss://stream", os.urandom(500).hex())
        assert not lines.write(2, "in", "wss://stream", "behind the hole")
        raise lines.error or AssertionError("it took everything")
    with gzip.open(tmp_path / name) if name.endswith(".gz") else (tmp_path / name).open("rb") as file:
        read: list[int] = []
        with suppress(EOFError):
            read.extend(msgspec.json.decode(line)["t"] for line in file if line.endswith(b"\n"))
    assert len(read) > 50
    assert set(read) == {1}


@pytest.mark.parametrize("name", ["kept.jsonl", "kept.jsonl.gz"])
def test_a_recorder_that_is_killed_has_left_the_frames_that_it_told_of(tmp_path: Path, name: str) -> None:
    with new_file(tmp_path / name) as output:
        lines = Lines(output, asyncio.Event())
        lines.write(1, "in", "wss://stream", "told of")
        lines.flush()
        with gzip.open(tmp_path / name) if name.endswith(".gz") else (tmp_path / name).open("rb") as file:
            assert msgspec.json.decode(file.readline())["frame"] == "told of"
