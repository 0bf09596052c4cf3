"""(A) Frame to value, in this process, no socket: each exchange's adapter against cryptofeed, ccxt.pro and msgspec.

Rates are values per second of CPU time of this thread: trades of a trade channel, frames of a book channel.
- "decode": the dialect's own `decode`, nothing else.
- "decode, check, batch": decode, then what the ingestor does with a window of trades before they leave: the decimal
  text of all of them is verified and they become one columnar batch. Exact decimals included.
- "book kept": decode, sequence rule and kept book as the ingestor's BookSync does it; where it would verify a checksum
  that the peers leave out by default, a line of its own compares with cryptofeed's checksums switched on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from bench import limit, peer_ccxt, peer_cryptofeed
from bench.inputs import Input, book_inputs, trade_inputs
from bench.measure import OURS, Row, Skip, compare, take_turns
from crosstape.common.market.book import BookUpdate, OrderBook
from crosstape.common.market.decimals import are_positive_decimal_lines
from crosstape.common.market.trade import Source, Trade, batch_trades
from crosstape.exchanges.dialect import Channel, Frame
from crosstape.ingestor.book_sync import BookSync

ROUNDS = 3
WINDOW = 500
"""Trades in one batch: the ingestor's most."""
READ_DEPTH = 25

Runner = Callable[[], int]
TradesDecode = Callable[[Frame, int], Sequence[Trade]]
BookDecode = Callable[[Frame, int], Sequence[BookUpdate]]
"""How a dialect's decode is typed when its socket carries the one channel alone."""


def measure() -> list[Row]:
    """All adapters."""
    rows: list[Row] = []
    for make in trade_inputs():
        rows += _try(make, _trades)
    for make in book_inputs():
        rows += _try(make, _books)
    return rows


def _try(make: Callable[[], Input], compare_all: Callable[[Input], list[Row]]) -> list[Row]:
    try:
        return compare_all(make())
    except Skip as reason:
        return [Row(f"skipped: {reason}", "", "", "", "")]


def _trades(source: Input) -> list[Row]:
    measured = take_turns(
        {
            "decode": lambda: _rate(source, _decoding(source)),
            OURS: lambda: _rate(source, _batching(source)),
            "cryptofeed": lambda: _rate(source, peer_cryptofeed.runner(source)),
            "ccxt.pro": lambda: _rate(source, peer_ccxt.runner(source)),
            "msgspec, text": lambda: _rate(source, limit.runner(source)),
            "msgspec, Decimal": lambda: _rate(source, limit.runner(source, exact=True)),
        },
        ROUNDS,
    )
    decode, whole = f"{source.name}: decode", f"{source.name}: decode, check, batch"
    rows = [
        compare(decode, measured, "msgspec, text", ours="decode", least=0.8),
        compare(whole, measured, "msgspec, Decimal", least=0.8),
    ]
    for what, ours in ((decode, "decode"), (whole, OURS)):
        rows.append(_against_cryptofeed(source, what, measured, ours, 4))
        rows.append(compare(what, measured, "ccxt.pro", ours=ours, least=20))
    return rows


def _against_cryptofeed(
    source: Input, what: str, measured: Mapping[str, Sequence[float]], ours: str, least: float
) -> Row:
    if not source.cryptofeed_reads:
        return compare(what, measured, "cryptofeed", ours=ours, least=least)
    label = f"cryptofeed, {source.cryptofeed_reads}"
    return compare(what, {**measured, label: measured["cryptofeed"]}, label, ours=ours)


def _books(source: Input) -> list[Row]:
    contenders = {
        OURS: lambda: _rate(source, _applying(source) if source.has_checksum else _keeping(source)),
        "cryptofeed": lambda: _rate(source, peer_cryptofeed.runner(source)),
        "ccxt.pro": lambda: _rate(source, peer_ccxt.runner(source)),
        "msgspec, dicts": lambda: _rate(source, limit.runner(source)),
    }
    if source.has_checksum:
        contenders |= {
            "verified": lambda: _rate(source, _keeping(source)),
            "cryptofeed, checksums on": lambda: _rate(source, peer_cryptofeed.runner(source, verifies=True)),
        }
    if source.snapshot:
        contenders |= {
            "read": lambda: _rate(source, _keeping(source, READ_DEPTH)),
            "cryptofeed, read": lambda: _rate(source, peer_cryptofeed.runner(source, depth=READ_DEPTH)),
            "ccxt.pro, read": lambda: _rate(source, peer_ccxt.runner(source, depth=READ_DEPTH)),
        }
    measured = take_turns(contenders, ROUNDS)
    rows = [
        compare(f"{source.name} kept", measured, "msgspec, dicts", least=0.8),
        _against_cryptofeed(source, f"{source.name} kept", measured, OURS, 6),
        compare(f"{source.name} kept", measured, "ccxt.pro", least=6),
    ]
    if source.has_checksum:
        what = f"{source.name} kept and verified by its checksum"
        rows.append(compare(what, measured, "cryptofeed, checksums on", ours="verified"))
    if source.snapshot:
        what = f"{source.name} kept, best {READ_DEPTH} levels read after every frame"
        rows.append(compare(what, measured, "cryptofeed, read", ours="read"))
        rows.append(compare(what, measured, "ccxt.pro, read", ours="read"))
    return rows


def _rate(source: Input, run: Runner) -> float:
    started = time.thread_time()
    done = run()
    seconds = time.thread_time() - started
    if done < source.items * 0.99:
        raise RuntimeError(f"{source.name}: a contender made {done} of {source.items} values")
    return source.items / seconds


def _decoding(source: Input) -> Runner:
    (subscription,) = source.dialect.subscriptions(source.instruments, frozenset((source.channel,)))
    decode, now = subscription.decode, time.time_ns

    def run() -> int:
        count = 0
        for frame in source.ours:
            count += len(decode(frame, now()))
        return count

    return run


def _batching(source: Input) -> Runner:
    (subscription,) = source.dialect.subscriptions(source.instruments, frozenset((source.channel,)))
    decode, now = cast(TradesDecode, subscription.decode), time.time_ns

    def send(window: list[Trade]) -> int:
        batch = batch_trades(window, Source.STREAM)
        if not (are_positive_decimal_lines(batch.price) and are_positive_decimal_lines(batch.quantity)):
            raise RuntimeError("a recorded trade has no decimal")
        return len(batch)

    def run() -> int:
        count = 0
        window: list[Trade] = []
        for frame in source.ours:
            window += decode(frame, now())
            if len(window) >= WINDOW:
                count += send(window)
                window = []
        return count + (send(window) if window else 0)

    return run


def _applying(source: Input) -> Runner:
    """Decode and apply, without sequence and checksum."""
    (subscription,) = source.dialect.subscriptions(source.instruments, frozenset((Channel.BOOK,)))
    decode = cast(BookDecode, subscription.decode)
    books = {instrument.symbol: OrderBook() for instrument in source.instruments}

    def run() -> int:
        count = 0
        for frame in source.ours:
            for update in decode(frame, 0):
                books[update.symbol].apply(update)
                count += 1
        return count

    return run


def _keeping(source: Input, depth: int = 0) -> Runner:
    """Decode and keep as the ingestor does: a snapshot that was fetched is taken once the socket has said something."""
    (subscription,) = source.dialect.subscriptions(source.instruments, frozenset((Channel.BOOK,)))
    decode = cast(BookDecode, subscription.decode)
    books = {instrument.symbol: BookSync(source.dialect, instrument) for instrument in source.instruments}
    frames = source.ours
    if source.snapshot:
        (instrument,) = source.instruments
        begun, frames = frames[0], frames[1:]
        for update in decode(begun, 0):
            books[update.symbol].update(update)
        first: BookUpdate = source.dialect.decode_book_snapshot(instrument, source.snapshot.encode(), 0)
        books[instrument.symbol].snapshot(first)

    def run() -> int:
        count = 0
        for frame in frames:
            for update in decode(frame, 0):
                sync = books[update.symbol]
                count += len(sync.update(update))
                if depth:
                    sync.book.top(depth)
        return count

    return run
