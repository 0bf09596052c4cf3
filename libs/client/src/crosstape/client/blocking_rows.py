"""The same rows for blocking callers."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from crosstape.client.calls import Page
from crosstape.client.loop_thread import LoopThread
from crosstape.client.rows import AsyncRows

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

PageT = TypeVar("PageT", bound=Page[Any])
Row = TypeVar("Row")


class Rows(Generic[PageT, Row]):
    """`for` gives row after row. Every iteration asks anew. See AsyncRows for what each method does."""

    def __init__(self, loop: LoopThread, rows: AsyncRows[PageT, Row]):
        self._loop = loop
        self._rows = rows

    def pages(self) -> Iterator[PageT]:
        """The pages as they come, for what they tell besides their rows."""
        return self._loop.iterate(self._rows.pages())

    def __iter__(self) -> Iterator[Row]:
        for batch in self._loop.iterate(self._rows.batches()):
            yield from batch

    def all(self) -> list[Row]:
        """Every row."""
        return self._loop.run(self._rows.all())

    def to_pandas(self, *, exact: bool = False) -> pd.DataFrame:
        """Every row as a DataFrame; numbers are float64, or Decimal objects if `exact`."""
        return self._loop.run(self._rows.to_pandas(exact=exact))

    def to_polars(self, *, exact: bool = False) -> pl.DataFrame:
        """Every row as a DataFrame; numbers are Float64, or Decimal if `exact`."""
        return self._loop.run(self._rows.to_polars(exact=exact))

    def save(self, file: str | PathLike[str]) -> None:
        """Every row into `file`, which ends in .csv, .arrow or .parquet."""
        self._loop.run(self._rows.save(file))
