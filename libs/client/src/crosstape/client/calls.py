"""Calls: requests as values. Every route is one pure function that makes one; clients only send them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

T = TypeVar("T")
Row_co = TypeVar("Row_co", covariant=True)

LARGEST_PAGE = 10_000

_encoder = msgspec.json.Encoder(decimal_format="number")


class Call(Struct, Generic[T], frozen=True):
    """A request and the type of its answer.

    `path` is percent-encoded; of `query`, None values are left out. `is_repeatable`: sending it twice does what once
    does, so that it may be sent again when its answer was lost. `is_anonymous`: sent without a credential.
    `ends_session`: the credential is dead once it succeeded.
    """

    method: str
    path: str
    answer: type[T]
    query: Mapping[str, object] = {}
    body: Any = None
    is_repeatable: bool = False
    is_anonymous: bool = False
    ends_session: bool = False

    @property
    def target(self) -> str:
        """Path and query as they are sent."""
        given = {name: str(value) for name, value in self.query.items() if value is not None}
        return f"{self.path}?{urlencode(given)}" if given else self.path

    @property
    def content(self) -> bytes | None:
        """The body as JSON, decimals as plain numbers with their exact text."""
        return None if self.body is None else _encoder.encode(self.body)


class RawAnswer(Struct, frozen=True, kw_only=True):
    """An answer as it came, whatever its status. `seconds` is how long it took."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    seconds: float


def get(path: str, answer: type[T], **query: object) -> Call[T]:
    """A GET, which is always repeatable."""
    return Call("GET", path, answer, query=query, is_repeatable=True)


class Page(Protocol[Row_co]):
    """A page of rows; `next_cursor` is None on the last."""

    @property
    def next_cursor(self) -> str | None: ...

    @property
    def rows(self) -> Sequence[Row_co]: ...


PageT = TypeVar("PageT", bound=Page[Any])
Row = TypeVar("Row")


class Paged(Struct, Generic[PageT, Row], frozen=True):
    """A list that comes in pages: the call for the first one, and the most rows that are wanted of all of them.

    `columns` are the fields of a row, with their types, that a DataFrame of the list has. `is_exported`: the route also
    answers with all rows as a file, and `first` asks for nothing that a file lacks.
    """

    first: Call[PageT]
    columns: Mapping[str, Any]
    limit: int | None = None
    is_exported: bool = False

    @property
    def export(self) -> Call[Any]:
        """The call for all rows as a file. Raises ValueError where there is none."""
        if not self.is_exported:
            raise ValueError("The platform exports whole ranges: give a start, no limit and no fill.")
        query = {name: value for name, value in self.first.query.items() if name != "limit"}
        return msgspec.structs.replace(self.first, query=query)

    def following(self, page: PageT, taken: int) -> Call[PageT] | None:
        """The call for the page after `page` when `taken` rows were had with it; None when it was the last."""
        if page.next_cursor is None or (self.limit is not None and taken >= self.limit):
            return None
        query = {**self.first.query, "cursor": page.next_cursor}
        return msgspec.structs.replace(self.first, query=query)

    def wanted(self, page: PageT, taken: int) -> Sequence[Row]:
        """Those rows of `page` that are within the limit after `taken` earlier ones."""
        return page.rows if self.limit is None else page.rows[: self.limit - taken]


def columns_of(row: type[Struct], *, without: str = "") -> dict[str, Any]:
    """The fields of `row` and their types."""
    return {field.name: field.type for field in msgspec.structs.fields(row) if field.name != without}


def path(*segments: str) -> str:
    """A path of `segments`; a slash inside of one (`BTC/USDT`) is part of it."""
    return "/" + "/".join(quote(segment, safe=":@") for segment in segments)
