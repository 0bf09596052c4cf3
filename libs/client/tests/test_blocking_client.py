"""The blocking client: the same methods, from code without an event loop."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from crosstape.client import AsyncClient, Client, SymbolNotFound
from crosstape.client.loop_thread import LoopThread
from libs.client.tests.scripted_platform import Answer, ScriptedPlatform, refusal
from libs.client.tests.test_market_data import BARS, bar_page, bars_or_arrow

T = TypeVar("T")


async def blocking(platform: ScriptedPlatform, use: Callable[[Client], T]) -> T:
    """What `use` makes of a client, in a thread, as the platform runs here."""

    def run() -> T:
        with Client(platform.url, api_key="ctk_1_key") as client:
            return use(client)

    return await asyncio.to_thread(run)


async def test_a_method_returns_what_the_other_clients_method_awaits(platform: ScriptedPlatform) -> None:
    platform.on("GET /exchanges", Answer({"exchanges": ["okx"]}))
    assert (await blocking(platform, lambda client: client.exchanges())).exchanges == ("okx",)
    assert platform.asked[0].bearer == "ctk_1_key"


async def test_rows_are_iterated_page_by_page(platform: ScriptedPlatform) -> None:
    platform.on(BARS, bar_page(0, 60, cursor="b"), bar_page(120))
    rows = await blocking(
        platform, lambda client: [bar.timestamp for bar in client.ohlcv("binance", "BTC-USDT", start=0)]
    )
    assert rows == [0, 60, 120]


async def test_rows_become_frames_and_files(platform: ScriptedPlatform, tmp_path: Path) -> None:
    platform.script(BARS, bars_or_arrow)

    def use(client: Client) -> tuple[int, int, int]:
        rows = client.ohlcv("binance", "BTC-USDT", start=0)
        rows.save(tmp_path / "bars.arrow")
        return len(rows.to_pandas()), len(rows.to_polars()), len(rows.all())

    assert await blocking(platform, use) == (2, 2, 2)
    assert (tmp_path / "bars.arrow").stat().st_size > 0


async def test_errors_are_the_same(platform: ScriptedPlatform) -> None:
    platform.on("GET /klines/okx/NO", refusal(404, "SYMBOL_NOT_FOUND"))
    with pytest.raises(SymbolNotFound):
        await blocking(platform, lambda client: client.klines("okx", "NO"))


def test_a_closed_client_says_so_and_leaves_no_thread() -> None:
    before = threading.enumerate()
    with Client() as client:
        pass
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.exchanges()
    after = [thread for thread in threading.enumerate() if thread not in before]
    assert not any(thread.name == "crosstape-client" for thread in after)


def test_methods_show_the_signature_and_the_words_of_their_route() -> None:
    for client in (AsyncClient(), Client()):
        parameters = inspect.signature(client.ohlcv).parameters
        assert list(parameters) == ["exchange", "symbol", "interval", "start", "end", "limit", "fill"]
        assert (client.ohlcv.__doc__ or "").startswith("Bars that open in")
        if isinstance(client, Client):
            client.close()


def test_a_client_that_is_let_go_in_its_own_thread_ends_it() -> None:
    loop, ended = LoopThread(), threading.Event()

    async def last() -> None:
        ended.set()

    async def let_go() -> None:
        loop.close(last())

    loop.run(let_go())
    loop._thread.join(10)
    assert (ended.is_set(), loop._thread.is_alive()) == (True, False)


def test_a_client_of_before_a_fork_says_so_instead_of_waiting_for_a_thread_that_is_not_there() -> None:
    client = Client()
    client._loop._loop.call_soon_threadsafe(client._loop._loop.stop)
    client._loop._thread.join(10)
    with pytest.raises(RuntimeError, match="one in each process"):
        client.exchanges()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.exchanges()
