"""Exports: the same rows as the JSON routes, in files for research, page by page in bounded memory.

Each page starts at a key, so the first and the last cost the same, and nothing is held when the client goes away:
the generator just ends.
"""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from starlette.responses import Response, StreamingResponse

from crosstape.common.web.layout import Layout
from crosstape.history.api.bars import BarQuery, ClosedBars, bar_table, bar_text, until
from crosstape.history.api.tape import TradeQuery, following
from crosstape.history.columns import PRICE
from crosstape.history.store import Store

PAGE_ROWS = 50_000
_SECOND_TIME = pa.timestamp("s", "UTC")


class _Chunks(io.RawIOBase):
    """A file that only grows, and whose bytes are taken away as they come."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._size

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def take(self) -> bytes:
        """What was written since the last time."""
        parts, self._parts = self._parts, []
        return b"".join(parts)


class _Encoder:
    """Tables of one schema to the bytes of a file."""

    def __init__(self, layout: Layout, schema: pa.Schema):
        self._chunks = _Chunks()
        file: Any = self._chunks
        self._writer = (
            pa.ipc.new_stream(file, schema)
            if layout is Layout.ARROW
            else pq.ParquetWriter(file, schema, compression="zstd")
        )

    def write(self, table: pa.Table) -> bytes:
        """What can be sent once `table` is part of the file."""
        self._writer.write_table(table)
        return self._chunks.take()

    def finish(self) -> bytes:
        """The end of the file."""
        self._writer.close()
        return self._chunks.take()


async def export_bars(
    store: Store, query: BarQuery, closed: ClosedBars, layout: Layout, headers: Mapping[str, str]
) -> Response:
    """All bars of `query` in `layout`. Raises DatabaseError."""
    more = await until(store, query, closed)

    async def tables() -> AsyncIterator[pa.Table]:
        page = query
        while True:
            table = await bar_table(store, page, more, limit=PAGE_ROWS)
            yield _typed_bars(table)
            if table.num_rows < PAGE_ROWS:
                return
            page = msgspec.structs.replace(page, start=table.column("timestamp")[-1].as_py() + 1)

    async def texts() -> AsyncIterator[bytes]:
        page = query
        while True:
            text = await bar_text(store, page, more, _csv(page is query), limit=PAGE_ROWS)
            yield text
            if not (last := _last_of_full_page(text, page is query)):
                return
            page = msgspec.structs.replace(page, start=int(last[0]) + 1)

    return await _response(texts() if layout is Layout.CSV else _encoded(tables(), layout), layout, headers)


async def export_trades(store: Store, query: TradeQuery, layout: Layout, headers: Mapping[str, str]) -> Response:
    """All trades of `query` in `layout`. Raises DatabaseError."""

    async def tables() -> AsyncIterator[pa.Table]:
        page = query
        while True:
            table = await store.arrow("typed_trades", limit=PAGE_ROWS, **page.range, **page.place)
            yield table.drop_columns(["trade_seq", "trade_uid"])
            if table.num_rows < PAGE_ROWS:
                return
            seq, uid = table.column("trade_seq")[-1].as_py(), table.column("trade_uid")[-1].as_py()
            page = msgspec.structs.replace(page, first=following(uid or seq, seq))

    async def texts() -> AsyncIterator[bytes]:
        page = query
        while True:
            text = await store.text("trades", _csv(page is query), limit=PAGE_ROWS, **page.range, **page.place)
            yield text
            if not (last := _last_of_full_page(text, page is query)):
                return
            is_text = text[text.rfind(b"\n", 0, -1) + 1 :].startswith(b'"')
            first = following(last[0] if is_text else int(last[0]), int(Decimal(last[1]) * 1000))
            page = msgspec.structs.replace(page, first=first)

    return await _response(texts() if layout is Layout.CSV else _encoded(tables(), layout), layout, headers)


def _csv(is_first: bool) -> str:
    return "CSVWithNames" if is_first else "CSV"


def _last_of_full_page(text: bytes, has_header: bool) -> list[str]:
    """The fields of the last row; none when the page is the last one. No field holds a line break."""
    if text.count(b"\n") - has_header < PAGE_ROWS:
        return []
    return next(csv.reader([text[text.rfind(b"\n", 0, -1) + 1 :].decode()]))


def _typed_bars(bars: pa.Table) -> pa.Table:
    """Times as times; sums in the precision that every reader knows; counts signed, as differences of unsigned ones
    wrap around in a DataFrame. Raises ArrowInvalid where they do not fit."""
    columns = {name: bars.column(name) for name in bars.column_names}
    for name in ("volume", "volume_delta", "volume_unknown"):
        columns[name] = columns[name].cast(PRICE)
    for name in ("trades", "revision"):
        columns[name] = columns[name].cast(pa.int64())
    columns["timestamp"] = columns["timestamp"].cast(pa.int64()).cast(_SECOND_TIME)
    return pa.table(columns)


async def _encoded(tables: AsyncIterator[pa.Table], layout: Layout) -> AsyncIterator[bytes]:
    encoder: _Encoder | None = None
    async for table in tables:
        encoder = encoder or _Encoder(layout, table.schema)
        yield await asyncio.to_thread(encoder.write, table)
    if encoder is not None:
        yield encoder.finish()


async def _response(content: AsyncIterator[bytes], layout: Layout, headers: Mapping[str, str]) -> Response:
    """`content` as it comes. Its first page is waited for: what fails then is still answered as an error, what fails
    later can only break off."""
    first = await anext(content)

    async def whole() -> AsyncIterator[bytes]:
        yield first
        async for chunk in content:
            yield chunk

    return StreamingResponse(whole(), headers=dict(headers), media_type=layout.value)
