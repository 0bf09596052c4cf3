"""The app, as it is started in a shell, against a scripted /ws of the platform."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

pytestmark = pytest.mark.integration

PATIENCE = 90.0
"""How long (s) a process is waited for that takes one to start, on a machine that is busy."""
CONSOLIDATED: dict[str, Any] = {
    "type": "book",
    "exchange": "*",
    "symbol": "ETH-USD",
    "bids": [[2620.6, 1, "okx"], [2620.5, 2, "kraken"]],
    "asks": [[2620.5, 3, "binance"]],
    "timestamp": 1.5,
    "sequence": 1,
    "crossed": True,
    "venues": [],
    "stale": [{"exchange": "bybit", "symbol": "ETH-USDT", "reason": "silent", "age_ms": 30000}],
}
TABLE = [
    "okx          |       1.00 |    2620.60 ||    2620.50 |       3.00 | binance     ",
    "kraken       |       2.00 |    2620.50 ||       0.00 |       0.00 |             ",
]


class Platform:
    """/ws of a platform: what is subscribed to is acknowledged, and told all the time."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.bearers: list[str] = []
        self.answers: dict[str, dict[str, Any]] = {"*": CONSOLIDATED}
        app = web.Application()
        app.router.add_get("/ws", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self.url = ""

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        self.bearers.append(request.headers.get("Authorization", ""))
        subscribed: list[dict[str, Any]] = []
        telling = asyncio.create_task(self._tell(ws, subscribed))
        async for message in ws:
            heard = message.json()
            self.heard.append(heard)
            answer = self.answers[heard["exchange"]]
            if answer["type"] == "error":
                await ws.send_json(answer)
                continue
            await ws.send_json({"message": f"Subscribed to {heard['exchange']} {heard['symbol']}"})
            subscribed.append(answer)
        telling.cancel()
        return ws

    async def _tell(self, ws: web.WebSocketResponse, subscribed: list[dict[str, Any]]) -> None:
        """The books change all the time."""
        while True:
            for answer in subscribed:
                await ws.send_json(answer)
            await asyncio.sleep(0.02)


def book(exchange: str, bid: float, ask: float) -> dict[str, Any]:
    levels = {"bids": [[bid, 1]], "asks": [[ask, 2]]}
    return {"type": "book", "exchange": exchange, "symbol": "ETH-USD", "timestamp": 1, "sequence": 1, **levels}


@pytest_asyncio.fixture
async def platform() -> AsyncIterator[Platform]:
    started = Platform()
    await started.start()
    yield started
    await started.stop()


async def run(*arguments: str, environment: Sequence[tuple[str, str]] = ()) -> tuple[int, str, str]:
    """Exit code, output and errors of the command."""
    process = await asyncio.create_subprocess_exec(
        *command(*arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **dict(environment)},
    )
    async with asyncio.timeout(PATIENCE):
        output, errors = await process.communicate()
    return process.returncode or 0, output.decode(), errors.decode()


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from crosstape.orderbook.app import main; main()", *arguments]


async def test_a_pipe_gets_whole_frames_without_colours(platform: Platform) -> None:
    key = ("CROSSTAPE_API_KEY", "ctk_1_a")
    code, output, errors = await run("eth-usd", "--plain", "--frames", "1", "--url", platform.url, environment=[key])
    assert (code, errors) == (0, "")
    lines = output.splitlines()
    assert lines[0] == "Aggregated Order Book for ETH-USD"
    assert lines[3:5] == TABLE
    assert lines[5] == "-" * 80
    assert lines[6] == "live | CROSSED by 0.1 | without bybit (silent)"
    assert "\x1b" not in output
    assert platform.heard[0]["exchange"] == "*"
    assert platform.bearers == ["Bearer ctk_1_a"]


async def test_chosen_exchanges_are_merged(platform: Platform) -> None:
    platform.answers = {"okx": book("okx", 10, 12), "kraken": book("kraken", 11, 13)}
    platform.answers["coinbasepro"] = {"type": "book_stale", "exchange": "coinbasepro", "symbol": "ETH-USD"} | {
        "reason": "silent"
    }
    whole = [
        "kraken       |       1.00 |      11.00 ||      12.00 |       2.00 | okx         ",
        "okx          |       1.00 |      10.00 ||      13.00 |       2.00 | kraken      ",
        "-" * 80,
        "live | without coinbasepro (silent)",
    ]
    chosen = "okx,kraken,coinbase"
    process = await asyncio.create_subprocess_exec(
        *command("ETH-USD", "--exchanges", chosen, "--plain", "--url", platform.url), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    frame = b""
    try:
        async with asyncio.timeout(PATIENCE):
            while frame.decode().splitlines()[3:7] != whole:  # the first may be drawn before all of them have a book
                frame = await process.stdout.readuntil(b"\n\n")
    finally:
        process.kill()
        await process.communicate()


async def test_an_unknown_symbol_is_one_clear_line(platform: Platform) -> None:
    details = {"suggestions": ["ETH-USD", "ETH-EUR"]}
    error = {"type": "error", "error_code": "SYMBOL_NOT_FOUND", "message": "No symbol ETHH.", "details": details}
    platform.answers = {"*": error}
    code, output, errors = await run("ETHH", "--plain", "--url", platform.url)
    assert (code, output) == (1, "")
    assert errors == "crosstape-orderbook: SYMBOL_NOT_FOUND: No symbol ETHH. Did you mean ETH-USD, ETH-EUR?\n"


async def test_a_platform_that_is_away_is_one_clear_line() -> None:
    code, output, errors = await run("--plain", "--url", "http://127.0.0.1:1")
    assert (code, output) == (1, "")
    assert errors.startswith("crosstape-orderbook: No answer from http://127.0.0.1:1: ")
    assert errors.count("\n") == 1


async def test_a_reader_that_leaves_ends_it_quietly(platform: Platform) -> None:
    process = await asyncio.create_subprocess_shell(
        f"{' '.join(map(shell_quoted, command('--plain', '--url', platform.url)))} | head -n 1",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(PATIENCE):
        assert process.stdout is not None
        first = await process.stdout.readline()
        process_output, errors = await process.communicate()
    assert first == b"Aggregated Order Book for ETH-USD\n"
    assert (process_output, errors) == (b"", b"")


def shell_quoted(word: str) -> str:
    return f"'{word}'"


async def test_ctrl_c_leaves_the_terminal_as_it_was(platform: Platform) -> None:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *command("--url", platform.url),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm", "LINES": "40", "COLUMNS": "100"},
    )
    os.close(theirs)
    seen = b""
    async with asyncio.timeout(PATIENCE):
        while TABLE[0].encode() not in seen:
            seen += await asyncio.to_thread(os.read, ours, 65536)
        process.send_signal(signal.SIGINT)
        while True:
            try:
                seen += await asyncio.to_thread(os.read, ours, 65536)
            except OSError:  # the other end is closed
                break
        assert await process.wait() == 130
    os.close(ours)
    assert b"\x1b[?1049h" in seen  # to the alternate screen
    assert seen.rindex(b"\x1b[?1049l") > seen.rindex(TABLE[0].encode())  # and back
    assert seen.rindex(b"\x1b[?25h") > seen.rindex(b"\x1b[?25l")  # the cursor is shown again
    assert b"Traceback" not in seen
