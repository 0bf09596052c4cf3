"""A ClickHouse (chDB) store of the benchmark's own with the real schema, under .crosstape/bench, removed at the end."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from crosstape.history.migrate import migrate
from crosstape.history.sink.service import sink_stores
from crosstape.history.store import Store

FOLDER = Path(__file__).resolve().parents[1] / ".crosstape" / "bench"


def fresh_folder(name: str) -> Path:
    """An empty folder; `bench.run` removes it."""
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@asynccontextmanager
async def stores(url: str) -> AsyncIterator[tuple[Store, Store]]:
    """The sink's own two stores, for inserts and for closing. The tables are there."""
    async with sink_stores(url) as (inserts, closings):
        await migrate(inserts)
        yield inserts, closings
