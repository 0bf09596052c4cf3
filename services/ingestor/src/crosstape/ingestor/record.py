"""`python -m crosstape.ingestor.record EXCHANGE SYMBOL... --out FILE`: live frames, unchanged, one JSON object a line.

Line: `{"t": receive time ns, "dir": "open"|"out"|"in"|"http", "src": URL, "frame": text}`; a file that ends in `.gz`
is compressed. Such files are what the simulator replays. A book's snapshot that the socket does not send is asked for
after every connect and is an `http` line.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
import time
import zlib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO, Protocol
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

REPORT_SECONDS = 1.0

_encoder = msgspec.json.Encoder()


class Output(Protocol):
    """Where the lines of a recording go."""

    def write(self, line: bytes, /) -> object:
        """Take `line` whole. Raises OSError."""
        ...

    def flush(self) -> object:
        """Have the system hold all that was written, where it outlives this process. Raises OSError."""
        ...


class _Compressed:
    """A gzip stream into `raw`. `GzipFile` keeps a buffer of its own, which it writes behind what was lost."""

    def __init__(self, raw: BinaryIO):
        self._raw = raw
        self._stream = zlib.compressobj(wbits=16 + zlib.MAX_WBITS)

    def write(self, line: bytes, /) -> None:
        self._raw.write(self._stream.compress(line))

    def flush(self) -> None:
        self._raw.write(self._stream.flush(zlib.Z_SYNC_FLUSH))
        self._raw.flush()

    def end(self) -> None:
        """Write what is still held, and the end of the stream."""
        self._raw.write(self._stream.flush())


class Lines:
    """The lines of a recording, up to the first that cannot be written: its `error` is kept, `ended` is set, and
    nothing follows it."""

    def __init__(self, output: Output, ended: asyncio.Event):
        self._output = output
        self._ended = ended
        self.error: OSError | None = None

    def write(self, now: int, direction: str, source: str, frame: str) -> bool:
        """Whether it was written; `now` in ns."""
        if self.error is not None:
            return False
        line = _encoder.encode({"t": now, "dir": direction, "src": source, "frame": frame}) + b"\n"
        with self._ended_by_error():
            self._output.write(line)
        return self.error is None

    def flush(self) -> None:
        """Have the file hold all lines, however this process ends."""
        if self.error is None:
            with self._ended_by_error():
                self._output.flush()

    @contextlib.contextmanager
    def _ended_by_error(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error
            self._ended.set()


class Recorder:
    """Writes what one subscription's socket says, under the real exchange's address `source`, whoever stands in.

    `on_first_frame` is called once after every connect. `frames` is how many were written.
    """

    def __init__(
        self,
        lines: Lines,
        subscription: Subscription,
        source: str,
        on_first_frame: Callable[[Subscription], None],
    ):
        self._lines = lines
        self._subscription = subscription
        self._source = source
        self._on_first_frame = on_first_frame
        self._has_frame = False
        self.frames = 0

    def on_connected(self, now: int) -> None:
        self._has_frame = False
        self._lines.write(now, "open", self._source, "")
        for message in self._subscription.messages:
            self._lines.write(now, "out", self._source, message.decode())

    def on_disconnected(self, now: int) -> None:
        """Nothing: the next `open` line tells."""

    def on_frame(self, payload: bytes, time_received: int) -> Sequence[bytes]:
        self.frames += self._lines.write(time_received, "in", self._source, payload.decode("utf-8", "replace"))
        if not self._has_frame:
            self._has_frame = True
            self._on_first_frame(self._subscription)
        return (payload,)


async def note_book(dialect: Dialect, instrument: Instrument, rest: ExchangeRest, lines: Lines) -> None:
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
    lines.write(time.time_ns(), "http", source, body.decode("utf-8", "replace"))


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Output]:
    """`path` to write to, compressed when it ends in `.gz`. Raises FileExistsError: what was recorded is not lost."""
    with path.open("xb") as raw:
        if path.suffix != ".gz":
            yield raw
            return
        output = _Compressed(raw)
        yield output
        output.end()  # not after an error: what lacks in the middle makes all behind it unreadable


async def record(
    dialect: Dialect, symbols: Sequence[str], origin: str | None, opening: AbstractContextManager[Output]
) -> int:
    """Record trades and books of `symbols` until SIGINT or SIGTERM; returns how many frames were written.

    `opening` is entered once the exchange has answered which markets those are. Raises OSError when it takes no more.
    """
    stop = asyncio.Event()
    recorders: list[Recorder] = []
    working: set[asyncio.Task[None]] = set()
    async with aiohttp.ClientSession() as session:
        rest = ExchangeRest(dialect, origin, session)
        table = SymbolTable(dialect.exchange, await rest.markets())
        instruments = [table.resolve(symbol).instrument for symbol in symbols]
        for number in (signal.SIGINT, signal.SIGTERM):  # until here there is nothing to end in order
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        with opening as output, _first_error():
            lines = Lines(output, stop)
            async with asyncio.TaskGroup() as group:

                def start(work: Coroutine[Any, Any, None]) -> None:
                    task = group.create_task(work)
                    working.add(task)
                    task.add_done_callback(working.discard)

                def note_books(subscription: Subscription) -> None:
                    for instrument in subscription.instruments:
                        start(note_book(dialect, instrument, rest, lines))

                for subscription in dialect.subscriptions(instruments, frozenset({Channel.TRADES, Channel.BOOK})):
                    address, path = subscription.address, subscription.path
                    recorders.append(Recorder(lines, subscription, dialect.addresses[address] + path, note_books))
                    url = resolve(dialect, address, origin) + path
                    start(Feed(dialect.exchange, subscription, url, recorders[-1]).run())
                start(_report(recorders, lines, stop))
                await stop.wait()
                for task in working:
                    task.cancel()
            if lines.error is not None:
                raise lines.error
    return sum(recorder.frames for recorder in recorders)


@contextlib.contextmanager
def _first_error() -> Iterator[None]:
    """Raise what the first of a group's tasks raised, in place of the group."""
    try:
        yield
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None


async def _report(recorders: Sequence[Recorder], lines: Lines, ended: asyncio.Event) -> None:
    """Say how many frames the file holds, until nobody reads that any more: then the recording ends."""
    while not ended.is_set():
        await asyncio.sleep(REPORT_SECONDS)
        lines.flush()
        frames = sum(recorder.frames for recorder in recorders)
        try:
            _say({"frames": frames, "time": time.time_ns()})
        except OSError:
            ended.set()


def _say(line: dict[str, Any]) -> None:
    print(_encoder.encode(line).decode(), flush=True)


def main() -> None:
    """Entry point; prints a JSON line each second and one at the end."""
    parser = argparse.ArgumentParser(prog="crosstape record", description=__doc__)
    parser.add_argument("exchange")
    parser.add_argument("symbols", nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--origin", default="", help="origin of a simulator; empty: the real exchange")
    arguments = parser.parse_args()
    was_there = arguments.out.exists()
    try:
        dialect, opening = dialect_of(arguments.exchange), new_file(arguments.out)
        frames = asyncio.run(record(dialect, arguments.symbols, arguments.origin or None, opening))
    except FileExistsError:
        sys.exit(f"record: {arguments.out} is there already: name another file")
    except (PlatformError, OSError) as error:
        has_begun = arguments.out.exists() and not was_there
        sys.exit(f"record: {error}" + (f": {arguments.out} ends there" if has_begun else ""))
    with contextlib.suppress(BrokenPipeError):
        _say({"frames": frames, "out": str(arguments.out)})


if __name__ == "__main__":
    main()
