"""Recordings played to real sockets."""

import asyncio
import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest

from crosstape.exchange_sim import SimConfig
from crosstape.exchange_sim.channel_key import ChannelKey
from crosstape.exchange_sim.clock import ExchangeClock
from crosstape.exchange_sim.faults import Faults
from crosstape.exchange_sim.replay import playback
from crosstape.exchange_sim.replay.frames import shifted, time_in
from crosstape.exchange_sim.replay.recordings import read_recordings
from crosstape.exchange_sim.testing import POLL_S, SMALL, client_of

MAX = replace(SMALL, speed=math.inf)
FIRST, LAST = 3735683259, 3735693015


@pytest.fixture(scope="module")
def binance(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Only the spot BTC file, linked into a folder of its own, so that nothing else is read."""
    source = Path(__file__).parents[4] / "shared" / "recordings" / "binance"
    if not source.is_dir():
        pytest.skip(f"no recordings at {source}")
    folder = tmp_path_factory.mktemp("recordings")
    for name in ("spot-btcusdt-20240808.jsonl.gz", "http-exchangeinfo.jsonl.gz"):
        (folder / name).symlink_to(source / name)
    return folder


@pytest.fixture(autouse=True)
def one_subscriber(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test subscribes once, in one message: a replay need not wait a quarter of a second for a second one."""
    monkeypatch.setattr(playback, "SETTLE_S", 0.02)


@pytest.mark.parametrize("times", ["recorded", "now"])
async def test_every_recorded_trade_arrives_once_at_full_speed(
    binance: Path, times: Literal["recorded", "now"]
) -> None:
    config: SimConfig = replace(MAX, exchanges=("binance",), recordings=binance, times=times)
    async with client_of(config) as client:
        assert (await client.get("/_truth/stats"))["replay"] == "waiting"
        subscribe = {"method": "SUBSCRIBE", "params": ["btcusdt@trade"], "id": 1}
        async with client.socket("/binance/spot.stream/ws", subscribe) as socket:
            assert await socket.next() == {"result": None, "id": 1}
            trades = [await socket.next() for _ in range(LAST - FIRST + 1)]
        assert [one["t"] for one in trades] == list(range(FIRST, LAST + 1))
        assert trades[0]["p"] == "61837.63000000"
        assert (trades[0]["T"] == 1723161255342) == (times == "recorded")
        assert trades[-1]["T"] - trades[0]["T"] == 1723161601271 - 1723161255342
        while (await client.get("/_truth/stats"))["replay"] != "done":
            await asyncio.sleep(POLL_S)
        path = "/binance/spot.rest/api/v3"
        page = await client.get(f"{path}/historicalTrades?symbol=BTCUSDT&fromId={FIRST + 41}&limit=3")
        assert [(one["id"], one["price"], one["time"]) for one in page] == [
            (one["t"], one["p"], one["T"]) for one in trades[41:44]
        ]
        assert (await client.get(f"{path}/depth?symbol=BTCUSDT"))["lastUpdateId"] == 50093239218
        listed = (await client.get(f"{path}/exchangeInfo"))["symbols"]
        assert len(listed) > 1000 and any(one["symbol"] == "BTCUSDT" for one in listed)
        bars = await client.get(f"{path}/klines?symbol=BTCUSDT&interval=1m")
        assert sum(bar[8] for bar in bars) == len(trades)


async def test_a_combined_stream_has_its_envelope_and_the_diffs_between_the_trades(binance: Path) -> None:
    config = replace(MAX, exchanges=("binance",), recordings=binance)
    async with client_of(config) as client:
        path = "/binance/spot.stream/stream?streams=btcusdt@trade/btcusdt@depth@100ms"
        async with client.socket(path) as socket:
            diffs = await socket.take(lambda one: one["stream"] == "btcusdt@depth@100ms", 200)
        updates = [one["data"] for one in diffs]
        assert all(after["U"] == before["u"] + 1 for before, after in itertools.pairwise(updates))


@pytest.mark.parametrize(
    ("folder", "exchange", "path", "subscribe", "is_trade", "symbol", "kind"),
    [
        ("okx", "okx", "/okx/stream/ws/v5/public",
         {"op": "subscribe", "args": [{"channel": "trades", "instId": "BTC-USDT"}]},
         lambda one: "data" in one, "BTC-USDT", "spot"),
        ("coinbase", "coinbasepro", "/coinbasepro/stream",
         {"type": "subscribe", "product_ids": ["SKL-USD"], "channels": ["matches"]},
         lambda one: one["type"] in ("match", "last_match"), "SKL-USD", "spot"),
        ("more/bybit", "bybit", "/bybit/perpetual.stream/v5/public/linear",
         {"op": "subscribe", "args": ["publicTrade.BTCUSDT"]},
         lambda one: "topic" in one, "BTCUSDT", "perpetual"),
        ("more/kraken", "kraken", "/kraken/stream",
         {"event": "subscribe", "pair": ["XBT/USD"], "subscription": {"name": "trade"}},
         lambda one: isinstance(one, list), "XBT/USD", "spot"),
    ],
)  # fmt: skip
async def test_other_exchanges_recordings_play(
    recordings: Path,
    folder: str,
    exchange: str,
    path: str,
    subscribe: object,
    is_trade: Any,
    symbol: str,
    kind: str,
) -> None:
    config = replace(MAX, exchanges=(exchange,), recordings=recordings / folder)
    async with client_of(config) as client:
        async with client.socket(path, subscribe) as socket:
            assert await socket.take(is_trade, 1)
        assert await client.truth(exchange, symbol, kind)


async def test_a_socket_that_said_little_beside_a_busy_one_of_its_file_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(playback, "SETTLE_S", 0.0)
    book = json.dumps({"channel": "book", "data": [{"symbol": "BTC/USD"}]})
    spoken = json.dumps({"t": 1, "dir": "in", "src": "wss://ws.kraken.com/v2", "frame": book})
    others = json.dumps({"t": 1, "dir": "in", "src": "wss://ws.okx.com", "frame": "{}"})
    file = tmp_path / "both.jsonl"
    file.write_text("\n".join([spoken, *[others] * 10_000, spoken, ""]))
    (recording,), _ = read_recordings(file, ("kraken",))
    clock = ExchangeClock(Faults(1, {}))
    playing = playback.Playback(recording, playback.Timeline([recording], math.inf, False), {}, clock)

    async def drained() -> None: ...

    session: Any = type("S", (), {"flush": staticmethod(lambda now_ns: None), "drain": staticmethod(drained)})()
    playing.subscribe(session, ChannelKey("kraken/stream", "book", "BTC/USD", "10"))
    task, turns = asyncio.create_task(playing.run()), 0
    while not task.done():
        await asyncio.sleep(0)
        turns += 1
    assert playing.state == "done" and turns >= 10


@pytest.mark.parametrize(
    ("exchange", "frame", "expected"),
    [
        (
            "binance",
            b'{"E":1723161255343,"t":12,"T":1723161255342}',
            b'{"E":1723161256343,"t":12,"T":1723161256342}',
        ),
        ("okx", b'{"ts":"1652459224818"}', b'{"ts":"1652459225818"}'),
        ("bybit", b'{"ts":1786310819681,"T":1786310819680}', b'{"ts":1786310820681,"T":1786310820680}'),
        ("coinbasepro", b'{"time":"2021-04-17T16:43:37.089723Z"}', b'{"time":"2021-04-17T16:43:38.089723Z"}'),
        ("kraken", b'["1","1618678123.481570"]', b'["1","1618678124.481570"]'),
        (
            "kraken",
            b'{"trade_id":1,"timestamp":"2023-09-25T07:49:37.708706Z"}',
            b'{"trade_id":1,"timestamp":"2023-09-25T07:49:38.708706Z"}',
        ),
    ],
)
def test_shifting_moves_every_time_and_nothing_else(exchange: str, frame: bytes, expected: bytes) -> None:
    assert shifted(exchange, frame, 1000) == expected
    assert time_in(exchange, expected) == (time_in(exchange, frame) or 0) + 10**9
    assert shifted(exchange, frame, 0) is frame
