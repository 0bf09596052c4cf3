"""Every route as a method of both clients, written once: awaitable on the one, blocking on the other.

A route is a function that makes a `Call` (or a `Paged` list of rows). The descriptors here turn it into a method that
sends what it makes; the type of the client says how.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from crosstape.client.accounts import change_password, info, login, logoff, refresh, register, unregister, users
from crosstape.client.api_keys import api_keys, create_api_key, revoke_api_key
from crosstape.client.bars import candles, klines, latest_candle, ohlcv
from crosstape.client.blocking_rows import Rows
from crosstape.client.books import book, consolidated_book
from crosstape.client.calls import Call, Page, Paged
from crosstape.client.directory import exchanges, health, readiness, symbols
from crosstape.client.orders import cancel_order, order, orders, submit_twap
from crosstape.client.rows import AsyncRows
from crosstape.client.trades import completeness, trades

P = ParamSpec("P")
T = TypeVar("T")
PageT = TypeVar("PageT", bound=Page[Any])
Row = TypeVar("Row")


class Asynchronous(Protocol):
    """A client whose methods are awaited."""

    def call(self, call: Call[T], /) -> Coroutine[Any, Any, T]: ...
    def rows(self, paged: Paged[PageT, Row], /) -> AsyncRows[PageT, Row]: ...


class Blocking(Protocol):
    """A client whose methods return when they are done."""

    def call(self, call: Call[T], /) -> T: ...
    def rows(self, paged: Paged[PageT, Row], /) -> Rows[PageT, Row]: ...


class Endpoint(Generic[P, T]):
    """The method of a route with one answer."""

    def __init__(self, make: Callable[P, Call[T]]):
        self._make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Asynchronous, owner: type) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, T]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        make = self._make
        if client is None:
            return self

        @functools.wraps(make)
        def send(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.call(make(*args, **kwargs))

        return send


class ListEndpoint(Generic[P, PageT, Row]):
    """The method of a route whose answer comes in pages."""

    def __init__(self, make: Callable[P, Paged[PageT, Row]]):
        self._make = make
        self.__doc__ = make.__doc__

    @overload
    def __get__(self, client: None, owner: type) -> Self: ...
    @overload
    def __get__(self, client: Asynchronous, owner: type) -> Callable[P, AsyncRows[PageT, Row]]: ...
    @overload
    def __get__(self, client: Blocking, owner: type) -> Callable[P, Rows[PageT, Row]]: ...
    def __get__(self, client: Any, owner: type) -> Any:
        make = self._make
        if client is None:
            return self

        @functools.wraps(make)
        def read(*args: P.args, **kwargs: P.kwargs) -> Any:
            return client.rows(make(*args, **kwargs))

        return read


class Endpoints:
    """Every route of the platform."""

    health = Endpoint(health)
    readiness = Endpoint(readiness)
    exchanges = Endpoint(exchanges)
    symbols = Endpoint(symbols)

    ohlcv = ListEndpoint(ohlcv)
    klines = Endpoint(klines)
    candles = Endpoint(candles)
    latest_candle = Endpoint(latest_candle)
    trades = ListEndpoint(trades)
    completeness = ListEndpoint(completeness)
    book = Endpoint(book)
    consolidated_book = Endpoint(consolidated_book)

    register = Endpoint(register)
    login = Endpoint(login)
    refresh = Endpoint(refresh)
    change_password = Endpoint(change_password)
    logoff = Endpoint(logoff)
    unregister = Endpoint(unregister)
    info = Endpoint(info)
    users = Endpoint(users)
    create_api_key = Endpoint(create_api_key)
    api_keys = Endpoint(api_keys)
    revoke_api_key = Endpoint(revoke_api_key)

    submit_twap = Endpoint(submit_twap)
    orders = Endpoint(orders)
    order = Endpoint(order)
    cancel_order = Endpoint(cancel_order)
