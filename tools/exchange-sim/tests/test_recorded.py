"""What `crosstape record` writes of each exchange is played as it was, with its trades in the exchange's history."""

import asyncio
import gzip
import json
import math
import re
import signal
import sys
import tracemalloc
from collections import defaultdict
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from crosstape.exchange_sim.instruments import Kind
from crosstape.exchange_sim.replay.frames import unabridged
from crosstape.exchange_sim.replay.recordings import Line, address_of, read_lines, read_recordings
from crosstape.exchange_sim.testing import PATIENCE_S, SMALL, Client, client_of

FRAMES = 150
DATA = {
    "binance": re.compile('{"stream"'),
    "kraken": re.compile('{"channel":"(trade|book)"'),
    "coinbasepro": re.compile('{"type":"(match|last_match|snapshot|l2update)"'),
    "okx": re.compile('{"arg"'),
    "bybit": re.compile('{"topic"'),
}
"""How every frame of market data begins, and no other."""


async def record(client: Client, exchange: str, symbols: list[str], file: Path) -> None:
    command = [sys.executable, "-P", "-m", "crosstape.ingestor.record", exchange, *symbols]
    recorder = await asyncio.create_subprocess_exec(
        *command, "--out", str(file), "--origin", client.address, stdout=asyncio.subprocess.PIPE
    )
    assert recorder.stdout
    async with asyncio.timeout(6 * PATIENCE_S):
        while json.loads(await recorder.stdout.readline())["frames"] < FRAMES:
            pass
        recorder.send_signal(signal.SIGINT)
        assert await recorder.wait() == 0


def decoded(frame: str) -> Any:
    return json.loads(frame, parse_float=str)


@pytest.mark.usefixtures("quicker_time")
@pytest.mark.integration
@pytest.mark.parametrize(
    ("exchange", "markets"),
    [
        ("binance", {"spot": "BTCUSDT", "perpetual": "BTCUSDT"}),
        ("kraken", {"spot": "BTC/USD"}),
        ("coinbasepro", {"spot": "BTC-USD"}),
        ("okx", {"spot": "BTC-USDT", "perpetual": "BTC-USDT-SWAP"}),
        ("bybit", {"spot": "BTCUSDT", "perpetual": "BTCUSDT"}),
    ],
)
async def test_trades_and_books_are_played_as_they_were_recorded(
    tmp_path: Path, exchange: str, markets: dict[Kind, str]
) -> None:
    file = tmp_path / "recorded.jsonl"
    symbols = [symbol if kind == "spot" else "BTC-USDT.P" for kind, symbol in markets.items()]
    async with client_of(replace(SMALL, exchanges=(exchange,))) as client:
        await record(client, exchange, symbols, file)
        truth = {kind: await client.truth(exchange, symbol, kind) for kind, symbol in markets.items()}

    sent: dict[str, list[Any]] = defaultdict(list)
    heard: dict[str, list[Any]] = defaultdict(list)
    for line in read_lines(file):
        if line.dir == "out":
            sent[line.src].append(decoded(line.frame))
        elif line.dir == "in" and DATA[exchange].match(line.frame):
            heard[line.src].append(decoded(line.frame))

    def is_data(frame: Any) -> bool:
        return DATA[exchange].match(json.dumps(frame, separators=(",", ":"))) is not None

    async def played(client: Client, source: str) -> list[Any]:
        place, parts = address_of(source), urlsplit(source)
        assert place
        path = f"/{'/'.join(place)}{parts.path}?{parts.query}"
        async with client.socket(path, *sent[source]) as socket:
            return await socket.take(is_data, len(heard[source]))

    async with client_of(replace(SMALL, exchanges=(exchange,), recordings=file, speed=math.inf)) as client:
        found = await asyncio.gather(*(played(client, source) for source in heard))
        for source, frames in zip(heard, found, strict=True):
            assert frames == heard[source]
        for kind, symbol in markets.items():
            told = await client.truth(exchange, symbol, kind)
            ids = [one["trade_id"] for one in truth[kind]]
            first = ids.index(told[0]["trade_id"])
            assert [exact(one) for one in told] == [exact(one) for one in truth[kind][first : first + len(told)]]


def exact(trade: dict[str, Any]) -> dict[str, Any]:
    return trade | {name: Decimal(trade[name]) for name in ("price", "quantity")}


LINES = b'{"t":1,"dir":"open","src":"wss://ws.kraken.com"}\n' * 2


@pytest.mark.parametrize("rest", [b"", b'{"t":2,"dir":"in","sr'])
@pytest.mark.parametrize("name", ["cut.jsonl", "cut.jsonl.gz"])
def test_a_file_that_was_cut_off_is_read_up_to_its_last_whole_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, rest: bytes
) -> None:
    file, content = tmp_path / name, LINES + rest
    file.write_bytes(gzip.compress(content)[:-8] if name.endswith(".gz") else content)
    assert list(read_lines(file)) == [Line(1, "open", "wss://ws.kraken.com")] * 2
    assert bool(caplog.records) == (file.read_bytes() != LINES)


def test_a_compressed_file_with_a_hole_is_read_up_to_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, packed = tmp_path / "holed.jsonl.gz", gzip.compress(LINES)
    file.write_bytes(packed[:-8] + b"\0" * 8)
    assert list(read_lines(file)) == [Line(1, "open", "wss://ws.kraken.com")] * 2
    assert "is cut off" in caplog.text


def test_a_last_line_that_lacks_only_its_end_is_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "written-by-hand.jsonl"
    file.write_bytes(LINES.removesuffix(b"\n"))
    assert list(read_lines(file)) == [Line(1, "open", "wss://ws.kraken.com")] * 2
    assert caplog.records == []


def test_a_number_whose_digits_would_fill_memory_keeps_its_exponent() -> None:
    numbers = {"1e-7": "0.0000001", "1.50e3": "1500", "0.10": "0.10", "1e999999999": "1e999999999"}
    assert {text: unabridged(msgspec.Raw(text.encode())) for text in numbers} == numbers


def test_a_long_recording_is_not_held_in_memory(tmp_path: Path) -> None:
    file, frames = tmp_path / "long.jsonl", 3_000
    with file.open("wb") as output:
        for number in range(frames):
            trade = {"symbol": "BTC/USD", "side": "buy", "price": 1.5, "qty": 0.25, "trade_id": number,
                     "timestamp": "2025-01-01T00:00:00.000001Z", "padding": "x" * 500}  # fmt: skip
            frame = json.dumps({"channel": "trade", "type": "update", "data": [trade]})
            output.write(
                json.dumps({"t": number, "dir": "in", "src": "wss://ws.kraken.com/v2", "frame": frame}).encode()
            )
            output.write(b"\n")
    tracemalloc.start()
    try:
        (recording,), _ = read_recordings(file, ("kraken",))
        played = sum(frame is not None for frame in recording.frames())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (played, recording.first, recording.last, recording.decimals) == (frames, 0, frames - 1, {"BTC/USD": (1, 2)})
    assert peak < file.stat().st_size / 4


def test_frames_that_are_recorded_while_it_is_played_are_not_part_of_it(tmp_path: Path) -> None:
    file, frame = tmp_path / "growing.jsonl", {"channel": "book", "data": [{"symbol": "BTC/USD"}]}
    line = json.dumps({"t": 1, "dir": "in", "src": "wss://ws.kraken.com/v2", "frame": json.dumps(frame)})
    file.write_text(f"{line}\n{line}\n")
    (recording,), _ = read_recordings(file, ("kraken",))
    file.write_text(f"{line}\n{line}\n{line}\n")
    assert sum(frame is not None for frame in recording.frames()) == 2


def test_a_line_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "edited.jsonl").write_bytes(LINES + b"{\n" + LINES)
    with pytest.raises(ValueError, match=r"line 3 of .*edited\.jsonl cannot be read"):
        list(read_lines(tmp_path / "edited.jsonl"))
