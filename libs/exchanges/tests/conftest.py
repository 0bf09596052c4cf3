"""Recordings of real frames, where they are present, and the instruments the tests talk about."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import msgspec
import pytest
from hypothesis import settings

from crosstape.common.market.instrument import Instrument, Kind

settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

RECORDINGS = Path(__file__).resolve().parents[4] / "shared" / "recordings"


class Line(msgspec.Struct):
    """One line of a recording; `t` in ns."""

    t: int | None
    dir: str
    src: str
    frame: str = ""

    @property
    def body(self) -> bytes:
        return self.frame.encode()


Recording = Callable[[str], list[Line]]


@cache
def _read(name: str) -> list[Line]:
    with gzip.open(RECORDINGS / f"{name}.jsonl.gz") as file:
        return msgspec.json.decode(b"[" + b",".join(file.read().splitlines()) + b"]", type=list[Line])


@pytest.fixture(scope="session")
def recording() -> Iterator[Recording]:
    """Reads a recording by name. Skips the test where there is none."""

    def read(name: str) -> list[Line]:
        if not (RECORDINGS / f"{name}.jsonl.gz").exists():
            pytest.skip(f"no recording {name} beside the repository: ../shared/recordings is absent")
        return _read(name)

    yield read
    _read.cache_clear()


@pytest.fixture(scope="session")
def truth() -> Callable[[str], list[dict[str, str]]]:
    """Reads a table of what a recording must come to, as rows."""

    def read(name: str) -> list[dict[str, str]]:
        path = RECORDINGS / "truth" / f"{name}.csv"
        if not path.exists():
            pytest.skip(f"no truth {name} beside the repository: ../shared/recordings is absent")
        header, *rows = (line.split(",") for line in path.read_text().splitlines())
        return [dict(zip(header, row, strict=True)) for row in rows]

    return read


@pytest.fixture
def spot() -> Instrument:
    return Instrument("binance", "BTCUSDT", "BTC", "USDT")


@pytest.fixture
def perpetual() -> Instrument:
    return Instrument("binance", "ETHUSDT", "ETH", "USDT", Kind.PERPETUAL)
