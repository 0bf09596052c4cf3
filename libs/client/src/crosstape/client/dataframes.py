"""DataFrames, of rows or of an Arrow export: the same columns and types either way.

Times are nanoseconds UTC, ids are text; numbers are floats, or exact decimals where they are asked for.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from crosstape.client.errors import MissingLibrary

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl

TIME = "timestamp"
PRECISION, SCALE = 38, 18
"""Of a price in the store, and so in an export."""

Columns = Mapping[str, Any]


def pandas_of_arrow(stream: bytes, *, exact: bool) -> pd.DataFrame:
    """An Arrow stream as a pandas DataFrame; exact numbers are Decimal objects."""
    library("pandas")
    pa = library("pyarrow", needed_by="pandas")
    table = pa.ipc.open_stream(stream).read_all()
    fields = [
        pa.field(field.name, pa.timestamp("ns", "UTC"))
        if pa.types.is_timestamp(field.type)
        else pa.field(field.name, pa.float64())
        if pa.types.is_decimal(field.type) and not exact
        else field
        for field in table.schema
    ]
    frame: pd.DataFrame = table.cast(pa.schema(fields)).to_pandas()
    return frame


def pandas_of_rows(rows: Sequence[Any], columns: Columns, *, exact: bool) -> pd.DataFrame:
    """Rows as a pandas DataFrame; exact numbers are Decimal objects."""
    pandas = library("pandas")
    data = {}
    for name, kind in columns.items():
        values = _values(rows, name, kind, exact=exact)
        if name == TIME:
            data[name] = pandas.to_datetime(values, unit="ns", utc=True).astype("datetime64[ns, UTC]")
        elif kind is Decimal:
            data[name] = pandas.Series(values, dtype="object" if exact else "float64")
        else:
            data[name] = pandas.Series(values, dtype=_PANDAS_TYPES.get(kind, "str"))
    frame: pd.DataFrame = pandas.DataFrame(data)
    return frame


def polars_of_arrow(stream: bytes, *, exact: bool) -> pl.DataFrame:
    """An Arrow stream as a polars DataFrame."""
    polars = library("polars")
    frame: pl.DataFrame = polars.read_ipc_stream(io.BytesIO(stream))
    is_decimal, is_time = polars.selectors.decimal(), polars.selectors.datetime()
    frame = frame.with_columns(is_time.cast(polars.Datetime("ns", "UTC")))
    return frame if exact else frame.with_columns(is_decimal.cast(polars.Float64))


def polars_of_rows(rows: Sequence[Any], columns: Columns, *, exact: bool) -> pl.DataFrame:
    """Rows as a polars DataFrame."""
    polars = library("polars")
    types = {int: polars.Int64, bool: polars.Boolean, Decimal: polars.Float64}
    if exact:
        types[Decimal] = polars.Decimal(PRECISION, SCALE)
    series = [
        polars.Series(name, _values(rows, name, kind, exact=exact), types.get(kind, polars.String))
        if name != TIME
        else polars.Series(name, _values(rows, name, kind, exact=exact), polars.Int64).cast(
            polars.Datetime("ns", "UTC")
        )
        for name, kind in columns.items()
    ]
    frame: pl.DataFrame = polars.DataFrame(series)
    return frame


_PANDAS_TYPES = {int: "int64", bool: "bool"}


def _values(rows: Sequence[Any], name: str, kind: Any, *, exact: bool) -> list[Any]:
    """One column; times in ns."""
    values = [getattr(row, name) for row in rows]
    if name == TIME:
        return [int(value * 1_000_000_000) for value in values]
    if kind is Decimal:
        return values if exact else [float(value) for value in values]
    if kind in (int, bool):
        return values
    return [value if value is None else str(value) for value in values]


def library(name: str, *, needed_by: str = "") -> Any:
    """The library `name`, imported when it is first needed. Raises MissingLibrary, which says what to install."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        extra = needed_by or name
        raise MissingLibrary(f'{name} is not installed: pip install "crosstape-client[{extra}]"') from error
