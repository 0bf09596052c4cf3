"""Ids over a clean restart and over kill -9."""

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from crosstape.exchange_sim import state
from crosstape.exchange_sim.__main__ import serve
from crosstape.exchange_sim.testing import POLL_S, SMALL, client_of

OKX = replace(SMALL, exchanges=("okx",))


async def test_a_clean_restart_continues_without_a_gap(tmp_path: Path) -> None:
    config = replace(OKX, state=tmp_path)
    async with client_of(config) as client:
        while not (first := await client.truth("okx", "BTC-USDT")):
            await asyncio.sleep(POLL_S)
    async with client_of(config) as client:
        while not (second := await client.truth("okx", "BTC-USDT"))[-1]["time_ns"] > first[-1]["time_ns"] + 10**8:
            await asyncio.sleep(POLL_S)
    ids = [int(one["trade_id"]) for one in second]
    assert second[: len(first)] == first
    assert ids == list(range(ids[0], ids[0] + len(ids)))


async def test_time_that_ended_with_an_error_ends_the_simulator(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "TRADE_BLOCK", 50)
    port_file = tmp_path / "port"
    serving = asyncio.create_task(serve(replace(OKX, state=tmp_path / "state"), port_file))
    async with asyncio.timeout(20):
        while not port_file.exists():
            await asyncio.sleep(POLL_S)
        (tmp_path / "state" / "reserved.new").symlink_to("/dev/full")
        with pytest.raises(OSError, match="No space left"):
            await serving


async def start(folder: Path) -> tuple[asyncio.subprocess.Process, str]:
    options = ["--exchanges", "okx", "--symbols", "1", "--rate", "300", "--state", str(folder)]
    command = [sys.executable, "-m", "crosstape.exchange_sim", *options]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1] / "src")}
    port_file = ["--port-file", str(folder.parent / "port")]
    process = await asyncio.create_subprocess_exec(
        *command, *port_file, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stdout
    ready = json.loads(await process.stdout.readline())
    assert ready["event"] == "ready"
    assert int((folder.parent / "port").read_text()) == ready["port"]
    return process, ready["address"]


@pytest.mark.integration
async def test_after_kill_9_no_id_is_used_again_and_sigterm_ends_cleanly(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    last: list[tuple[int, int]] = []
    async with aiohttp.ClientSession() as http:
        for end in (signal.SIGKILL, signal.SIGTERM):
            process, address = await start(folder)
            trades: list[dict[str, str]] = []
            while not trades:
                async with http.get(f"{address}/_truth/okx/BTC-USDT/trades?limit=100000") as response:
                    trades = await response.json()
            last.append((int(trades[0]["trade_id"]), int(trades[-1]["trade_id"])))
            process.send_signal(end)
            code = await asyncio.wait_for(process.wait(), 20)
            assert code == (0 if end is signal.SIGTERM else -signal.SIGKILL)
    (_, killed), (restarted, _) = last
    assert restarted > killed


@pytest.mark.integration
async def test_after_kill_9_nothing_is_called_complete_that_lacks_trades(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    seen: list[int] = []
    async with aiohttp.ClientSession() as http:

        async def ids(address: str) -> list[int]:
            async with http.get(f"{address}/_truth/okx/BTC-USDT/trades?limit=100000") as response:
                return [int(one["trade_id"]) for one in await response.json()]

        for end in (signal.SIGTERM, signal.SIGKILL, signal.SIGTERM):
            process, address = await start(folder)
            while not (known := await ids(address)) or known[-1] <= max(seen, default=0):
                await asyncio.sleep(POLL_S)
            async with http.get(f"{address}/_truth/markets") as response:
                markets = {one["symbol"]: one for one in await response.json() if one["kind"] == "spot"}
            complete_from = int(markets["BTC-USDT"]["complete_from_id"])
            assert {number for number in seen if number >= complete_from} <= set(known)
            seen += known
            process.send_signal(end)
            await asyncio.wait_for(process.wait(), 20)
