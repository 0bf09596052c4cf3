"""`python -m crosstape.ingestor.record EXCHANGE SYMBOL... --out FILE`: live frames, unchanged, one JSON object a line.

Line: `{"t": receive time ns, "dir": "open"|"out"|"in"|"http", "src": URL, "frame": text}`; a file that ends in `.gz`
is compressed. Such files are what the simulator replays. A book's snapshot that the socket does not send is asked for
after every connect and is an `http` line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import signal
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlencode

import aiohttp
import msgspec

from crosstape.common.errors import ExchangeError, PlatformError
from crosstape.common.market.instrument import Instrument
from crosstape.common.symbols import SymbolTable
from crosstape.exchanges import dialect_of
from crosstape.exchanges.dialect import Channel, Dialect, Subscription
from crosstape.exchanges.rest import ExchangeRest, resolve
from crosstape.ingestor.feed import Feed

_encoder = msgspec.json.Encoder()


class Recorder:
    """Writes what one subscription's socket says, under the real exchange's address `source`, whoever stands in.

    `on_first_frame` is called once after every connect.
    """

    def __init__(
        self, output: IO[bytes], subscription: Subscription, source: str, on_first_frame: Callable[[Subscription], None]
    ):
        self._output = output
        self._subscription = subscription
        self._source = source
        self._on_first_frame = on_first_frame
        self._has_frame = False
        self.frames = 0

    def on_connected(self, now: int) -> None:
        self._has_frame = False
        self._write(now, "open", "")
        for message in self._subscription.messages:
            self._write(now, "out", message.decode())

    def on_disconnected(self, now: int) -> None:
        """Nothing: the next `open` line tells."""

    def on_frame(self, payload: bytes, time_received: int) -> None:
        self.frames += 1
        self._write(time_received, "in", payload.decode("utf-8", "replace"))
        if not self._has_frame:
            self._has_frame = True
            self._on_first_frame(self._subscription)

    def _write(self, now: int, direction: str, frame: str) -> None:
        write(self._output, now, direction, self._source, frame)


def write(output: IO[bytes], now: int, direction: str, source: str, frame: str) -> None:
    """One line; `now` in ns."""
    output.write(_encoder.encode({"t": now, "dir": direction, "src": source, "frame": frame}) + b"\n")


async def note_book(dialect: Dialect, instrument: Instrument, rest: ExchangeRest, output: IO[bytes]) -> None:
    """Write the book's snapshot where the exchange's socket sends none. A failure is said, and nothing else ends."""
    request = dialect.book_snapshot(instrument)
    if request is None:
        return
    try:
        body = await rest.body(request)
    except ExchangeError as error:
        print(f"record: no book of {instrument.symbol}: {error}", file=sys.stderr)
        return
    source = f"{dialect.addresses[request.address]}{request.path}?{urlencode(request.params)}"
    write(output, time.time_ns(), "http", source, body.decode("utf-8", "replace"))


async def record(dialect: Dialect, symbols: Sequence[str], origin: str | None, output: IO[bytes]) -> int:
    """Record trades and books of `symbols` until SIGINT or SIGTERM; returns how many frames were written."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    recorders: list[Recorder] = []
    working: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession() as session:
        rest = ExchangeRest(dialect, origin, session)
        table = SymbolTable(dialect.exchange, await rest.markets())
        instruments = [table.resolve(symbol).instrument for symbol in symbols]
        async with asyncio.TaskGroup() as group:

            def start(work: Coroutine[Any, Any, None]) -> None:
                task = group.create_task(work)
                working.add(task)
                task.add_done_callback(working.discard)

            def note_books(subscription: Subscription) -> None:
                for instrument in subscription.instruments:
                    start(note_book(dialect, instrument, rest, output))

            for subscription in dialect.subscriptions(instruments, frozenset({Channel.TRADES, Channel.BOOK})):
                address, path = subscription.address, subscription.path
                recorders.append(Recorder(output, subscription, dialect.addresses[address] + path, note_books))
                url = resolve(dialect, address, origin) + path
                start(Feed(dialect.exchange, subscription, url, recorders[-1]).run())
            start(_report(recorders))
            await stop.wait()
            for task in working:
                task.cancel()
    return sum(recorder.frames for recorder in recorders)


async def _report(recorders: Sequence[Recorder]) -> None:
    while True:
        await asyncio.sleep(1)
        frames = sum(recorder.frames for recorder in recorders)
        print(_encoder.encode({"frames": frames, "time": time.time_ns()}).decode(), flush=True)


def main() -> None:
    """Entry point; prints a JSON line each second and one at the end."""
    parser = argparse.ArgumentParser(prog="crosstape record", description=__doc__)
    parser.add_argument("exchange")
    parser.add_argument("symbols", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--origin", default="", help="origin of a simulator; empty: the real exchange")
    arguments = parser.parse_args()
    try:
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(arguments.out.open("wb"))
            output = stack.enter_context(gzip.open(raw, "wb")) if arguments.out.suffix == ".gz" else raw
            frames = asyncio.run(
                record(dialect_of(arguments.exchange), arguments.symbols, arguments.origin or None, output)
            )
    except (PlatformError, OSError) as error:
        sys.exit(f"record: {error}")
    print(_encoder.encode({"frames": frames, "out": str(arguments.out)}).decode(), flush=True)


if __name__ == "__main__":
    main()
