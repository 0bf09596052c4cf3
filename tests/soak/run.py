"""One soak from start to end: the demo, what is done to it, who uses it meanwhile, and what is compared then."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import aiohttp
from rich.console import Console
from rich.live import Live
from rich.table import Table

from crosstape.client import AsyncClient, CrosstapeError
from tests.e2e.weather import EXCHANGES
from tests.soak import orders
from tests.soak.demo import Demo
from tests.soak.gauges import Gauges
from tests.soak.judge import MIB, Finding, Outcome, compare_stream
from tests.soak.listeners import BarListener, BookListener, CvdListener, TradeListener
from tests.soak.orders import Trader
from tests.soak.readers import Reader
from tests.soak.schedule import ROUGH_SHARE, Blow, blows
from tests.soak.truth import Truth, find
from tests.soak.verdict import findings

BASES = ("BTC", "ETH")
WEIGH_SECONDS, GATHER_SECONDS = 5.0, 15.0
SAID_SECONDS = 30.0
ORDERS_SECONDS = 90.0
STREAMS_SECONDS = 60.0


@dataclass(frozen=True)
class Options:
    """What the command line chose; `seconds` is how long trades flow, `settle` how long the end may take."""

    seconds: float
    seed: int
    rate: float
    symbols: int
    faults: str
    settle: float


class Listener(Protocol):
    """A subscriber."""

    async def run(self, client: AsyncClient) -> None: ...


@dataclass
class Crew:
    """Who uses the platform, and what happened to it and them."""

    trades: list[TradeListener]
    books: list[BookListener]
    cvds: list[CvdListener]
    bars: BarListener
    reader: Reader
    trader: Trader
    gauges: Gauges = field(default_factory=Gauges)
    struck: Counter[str] = field(default_factory=Counter)
    deaths: list[str] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


async def soak(options: Options, home: Path, console: Console) -> list[Finding]:
    """Run it. Raises DemoFailed when the platform itself does not start or does not stay."""
    demo = Demo(
        home,
        ["--rate", str(options.rate), "--symbols", str(options.symbols), "--seed", str(options.seed),
         "--faults", options.faults],
    )  # fmt: skip
    found: list[Finding] = []
    try:
        with console.status("starting the demo"):
            await demo.start()
        found = await _with_users(options, demo, console)
    finally:
        code = await demo.stop()
    return [*found, Finding("Ctrl-C stops everything cleanly", code == 0, f"exit code {code}")]


async def _with_users(options: Options, demo: Demo, console: Console) -> list[Finding]:
    run = demo.run
    async with aiohttp.ClientSession() as session, AsyncClient(run.gateway_url, api_key=demo.api_key) as client:
        truth = Truth(session, run.exchange_origin, run.history_url)
        await truth.open()
        crew = _crew(truth, options.seed)
        listeners: list[Listener] = [*crew.trades, *crew.books, *crew.cvds, crew.bars]
        working = [asyncio.create_task(_noting(crew, listener, client)) for listener in listeners]
        working.append(asyncio.create_task(crew.reader.run(run.gateway_url, demo.api_key)))
        trading = asyncio.create_task(crew.trader.run(client))
        try:
            await _flow(options, demo, truth, crew, session, trading, console)
            with console.status("waiting for the last orders"):
                await _orders_end(client, crew)
            await truth.pause()
            await truth.gather()
            with console.status("waiting for the tape"):
                await truth.settle(options.settle)
            with console.status("waiting for the subscribers"):
                await _streams_end(crew, truth)
            found = await findings(crew, demo, truth)
        finally:
            for task in (*working, trading):
                task.cancel()
            ended = await asyncio.gather(*working, trading, return_exceptions=True)
        for mistake in ended:
            if isinstance(mistake, Exception):
                raise mistake
        return found


def _crew(truth: Truth, seed: int) -> Crew:
    spot = {
        (market.exchange, market.listed["base"]): (market.exchange, market.symbol)
        for market in truth.markets
        if market.listed["kind"] == "spot" and market.listed["quote"] in ("USD", "USDT")
    }
    chosen = {base: [spot[exchange, base] for exchange in EXCHANGES if (exchange, base) in spot] for base in BASES}
    markets = [market for base in BASES for market in chosen[base]]
    return Crew(
        trades=[TradeListener([f"trades:{exchange}:{symbol}" for exchange, symbol in chosen[base]]) for base in BASES],
        books=[BookListener(f"{base}-USD") for base in BASES],
        cvds=[CvdListener(*market) for market in chosen[BASES[0]]],
        bars=BarListener(markets),
        reader=Reader(markets, seed),
        trader=Trader([f"{base}-USD" for base in BASES], seed),
    )


async def _noting(crew: Crew, listener: Listener, client: AsyncClient) -> None:
    """One who is sent away for good is a broken promise, not the end of the soak."""
    try:
        await listener.run(client)
    except CrosstapeError as error:
        crew.deaths.append(f"{type(listener).__name__} could not go on: {type(error).__name__}: {error}")
    else:
        crew.deaths.append(f"{type(listener).__name__} came to an end")


async def _flow(
    options: Options,
    demo: Demo,
    truth: Truth,
    crew: Crew,
    session: aiohttp.ClientSession,
    trading: asyncio.Task[None],
    console: Console,
) -> None:
    """The time in which trades flow and blows fall."""
    waiting = blows(options.seed, EXCHANGES, options.seconds)
    began = time.monotonic()
    due = {"weigh": 0.0, "gather": GATHER_SECONDS, "say": SAID_SECONDS}
    is_calm = False
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while (passed := time.monotonic() - began) < options.seconds:
            demo.require_running()
            while waiting and waiting[0].second <= passed:
                _strike(demo, crew, waiting.pop(0), console)
            if not is_calm and passed > options.seconds * ROUGH_SHARE:
                await truth.calm()
                is_calm = True
            if passed > options.seconds - orders.DURATION - orders.PAUSE_SECONDS:
                trading.cancel()
            await crew.gauges.sample(session, demo)
            if passed > due["weigh"]:
                due["weigh"] = passed + WEIGH_SECONDS
                await asyncio.to_thread(demo.weigh)
            if passed > due["gather"]:
                due["gather"] = passed + GATHER_SECONDS
                await truth.gather()
            table = _progress(options, passed, demo, truth, crew)
            live.update(table, refresh=True)
            if passed > due["say"] and not console.is_terminal:
                due["say"] = passed + SAID_SECONDS
                console.print(table)
            await asyncio.sleep(1.0)


def _strike(demo: Demo, crew: Crew, blow: Blow, console: Console) -> None:
    if demo.strike(blow.name, blow.signal):
        crew.struck[f"{blow.signal.name} {blow.name}"] += 1
        console.print(f"{blow.second:6.0f} s  {blow.signal.name} to {blow.name}")


def _progress(options: Options, passed: float, demo: Demo, truth: Truth, crew: Crew) -> Table:
    made = truth.made - truth.made_before
    told = sum(len(told.ids) for listener in crew.trades for told in listener.told.values())
    lost = sum(listener.connections_lost for listener in crew.trades)
    gaps = sum(len(told.gaps) for listener in crew.trades for told in listener.told.values())
    table = Table.grid(padding=(0, 2))
    table.add_row("time", f"{passed:.0f} of {options.seconds:.0f} s")
    table.add_row("trades made", f"{made} ({made / max(passed, 1):.0f}/s)")
    table.add_row("trades told", f"{told}; connections lost {lost}, gaps {gaps}")
    answers = " ".join(f"{status}:{count}" for status, count in sorted(crew.reader.statuses.items()))
    table.add_row("REST", f"{answers}; orders {len(crew.trader.accepted)}")
    newest = {name: sizes[-1][1] / MIB for (name, _), sizes in demo.sizes.items()}
    table.add_row("memory, MiB", " ".join(f"{name} {size:.0f}" for name, size in newest.items()))
    return table


async def _orders_end(client: AsyncClient, crew: Crew) -> None:
    end = time.monotonic() + ORDERS_SECONDS
    while True:
        crew.outcomes, crew.gone = await crew.trader.outcomes(client)
        if time.monotonic() > end or all(outcome.status != "open" for outcome in crew.outcomes):
            return
        await asyncio.sleep(1.0)


async def _streams_end(crew: Crew, truth: Truth) -> None:
    """Return when every subscriber was told everything, or it is too late for that."""
    end = time.monotonic() + STREAMS_SECONDS
    while time.monotonic() < end:
        missed = 0
        for listener in crew.trades:
            for channel, told in listener.told.items():
                _, exchange, symbol = channel.split(":")
                missed += len(compare_stream(told, find(truth.markets, exchange, symbol).times()).missed)
        if not missed:
            return
        await asyncio.sleep(1.0)
