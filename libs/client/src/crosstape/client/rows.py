"""Rows: a list that comes in pages, followed as it is read, or taken whole, as a DataFrame, or as a file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from crosstape.client import dataframes
from crosstape.client.calls import Call, Page, Paged

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

T = TypeVar("T")
PageT = TypeVar("PageT", bound=Page[Any])
Row = TypeVar("Row")

ARROW = "application/vnd.apache.arrow.stream"
MEDIA_TYPES = {".arrow": ARROW, ".csv": "text/csv", ".parquet": "application/vnd.apache.parquet"}


class Sender(Protocol):
    """What sends calls."""

    async def call(self, call: Call[T], /) -> T:
        """The answer."""
        ...

    def export(self, call: Call[Any], media_type: str, /) -> AsyncIterator[bytes]:
        """The answer as a file, piece by piece."""
        ...


class AsyncRows(Generic[PageT, Row]):
    """`async for` gives row after row. Every iteration asks anew."""

    def __init__(self, sender: Sender, paged: Paged[PageT, Row]):
        self._sender = sender
        self._paged = paged

    async def pages(self) -> AsyncIterator[PageT]:
        """The pages as they come, for what they tell besides their rows."""
        call: Call[PageT] | None = self._paged.first
        taken = 0
        while call is not None:
            page = await self._sender.call(call)
            yield page
            taken += len(page.rows)
            call = self._paged.following(page, taken)

    async def batches(self) -> AsyncIterator[Sequence[Row]]:
        """The rows, page by page."""
        taken = 0
        async for page in self.pages():
            yield self._paged.wanted(page, taken)
            taken += len(page.rows)

    async def __aiter__(self) -> AsyncIterator[Row]:
        async for batch in self.batches():
            for row in batch:
                yield row

    async def all(self) -> list[Row]:
        """Every row."""
        return [row async for row in self]

    async def to_pandas(self, *, exact: bool = False) -> pd.DataFrame:
        """Every row as a DataFrame; numbers are float64, or Decimal objects if `exact`. Raises MissingLibrary."""
        dataframes.library("pandas")
        if self._paged.is_exported:
            stream = await self._whole_export()
            return await asyncio.to_thread(dataframes.pandas_of_arrow, stream, exact=exact)
        rows = await self.all()
        return await asyncio.to_thread(dataframes.pandas_of_rows, rows, self._paged.columns, exact=exact)

    async def to_polars(self, *, exact: bool = False) -> pl.DataFrame:
        """Every row as a DataFrame; numbers are Float64, or Decimal if `exact`. Raises MissingLibrary."""
        dataframes.library("polars")
        if self._paged.is_exported:
            stream = await self._whole_export()
            return await asyncio.to_thread(dataframes.polars_of_arrow, stream, exact=exact)
        rows = await self.all()
        return await asyncio.to_thread(dataframes.polars_of_rows, rows, self._paged.columns, exact=exact)

    async def save(self, file: str | PathLike[str]) -> None:
        """Every row into `file`, which ends in .csv, .arrow or .parquet. It appears once it is whole.

        Raises ValueError for another ending, and for rows without `start`, with a `limit`, or filled.
        """
        path = Path(file)
        if path.suffix not in MEDIA_TYPES:
            raise ValueError(f"{path.name} must end in one of {', '.join(MEDIA_TYPES)}.")
        pieces = self._sender.export(self._paged.export, MEDIA_TYPES[path.suffix])
        growing = path.with_name(f"{path.name}.part")
        try:
            with growing.open("wb") as out:
                async for piece in pieces:
                    await asyncio.to_thread(out.write, piece)
            growing.replace(path)
        finally:
            growing.unlink(missing_ok=True)

    async def _whole_export(self) -> bytes:
        return b"".join([piece async for piece in self._sender.export(self._paged.export, ARROW)])
