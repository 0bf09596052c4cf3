"""A ClickHouse (chDB) store of the benchmark's own with the real schema, under .crosstape/bench, removed at the end."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from crosstape.history.migrate import migrate
from crosstape.history.store import Store

FOLDER = Path(__file__).resolve().parents[1] / ".crosstape" / "bench"
DEADLINE = 600.0


def fresh_folder(name: str) -> Path:
    """An empty folder."""
    folder = FOLDER / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@asynccontextmanager
async def stores(url: str) -> AsyncIterator[tuple[Store, Store]]:
    """Two stores of one database, as the sink has them: for inserts and for closing. The tables are there."""
    inserts = Store(url, threads=1, deadline=DEADLINE)
    closings = Store(url, threads=1, deadline=DEADLINE)
    try:
        await migrate(inserts)
        yield inserts, closings
    finally:
        await inserts.close()
        await closings.close()
