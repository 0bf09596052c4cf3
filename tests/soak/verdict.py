"""From what was seen in a soak to its findings: one for each promise, and the times that are stated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bench.measure import percentile
from tests.soak.demo import Demo
from tests.soak.judge import (
    CEILINGS,
    MIB,
    Finding,
    bucket_percentile,
    compare_stream,
    memory_growth,
    wrong_steps,
    wrong_with,
)
from tests.soak.truth import Truth, delta, find

if TYPE_CHECKING:
    from tests.soak.run import Crew

SHOWN = 5


async def findings(crew: Crew, demo: Demo, truth: Truth) -> list[Finding]:
    """Everything, in the order of the table."""
    stats = await truth.stats()
    struck = ", ".join(f"{count}x {what}" for what, count in sorted(crew.struck.items()))
    faults = ", ".join(f"{count} {kind}" for kind, count in sorted(stats["faults"].items()))
    return [
        Finding("what happened to it", None, f"{struck or 'nothing killed'}; on the wire: {faults or 'nothing'}"),
        *_tape(truth),
        _verified(await truth.verify()),
        _streams(crew, truth),
        _cvds(crew, truth),
        _books(crew),
        _bars(crew),
        _orders(crew),
        _rest(crew),
        _memory(demo),
        Finding("users are never sent away", not crew.deaths, f"{len(crew.deaths)} were", tuple(crew.deaths)),
        _times("trade's own time to subscriber, in order", [x for one in crew.trades for x in one.latencies]),
        _times("the same of repaired and reordered ones", [x for one in crew.trades for x in one.repaired]),
        _times("sink lag", crew.gauges.lags),
        _times("REST, good answers", crew.reader.latencies),
        _slices(crew),
    ]


def _tape(truth: Truth) -> list[Finding]:
    markets = [market for market in truth.markets if market.trades]
    made = sum(market.difference.truth for market in markets)
    lacking = Counter[str]()
    for market in markets:
        lacking[market.exchange] += len(market.difference.missing)
    counts = ", ".join(f"{count} of {exchange}" for exchange, count in lacking.most_common() if count)
    where = f"{counts} without numbers lack and the ledger calls their minutes gaps" if counts else "none lacks"
    unexplained = [one for one in markets if one.difference.missing != one.difference.explained or not one.tape]
    doubled = [one for one in markets if one.difference.invented or one.difference.changed or one.failure]
    bars = [one for one in markets if not one.are_bars_right]
    return [
        Finding(
            "nothing lost",
            bool(markets) and not unexplained,
            f"{made} trades of {len(markets)} markets, {where}"
            if not unexplained
            else f"{len(unexplained)} of {len(markets)} markets lack trades that a repair should have brought",
            tuple(one.describe() for one in unexplained),
        ),
        Finding(
            "nothing doubled, invented or changed",
            bool(markets) and not doubled,
            f"{sum(one.difference.stored for one in markets)} stored trades",
            tuple(one.describe() for one in doubled),
        ),
        Finding(
            "bars are the fold of the tape",
            bool(markets) and not bars,
            f"{len(markets) - len(bars)} of {len(markets)} markets",
            tuple(one.describe() for one in bars),
        ),
    ]


def _verified(wrong: list[str]) -> Finding:
    return Finding("bars recomputed are the bars stored", not wrong, f"{len(wrong)} markets differ", tuple(wrong))


def _streams(crew: Crew, truth: Truth) -> Finding:
    wrong: list[str] = []
    told = [(channel, one) for listener in crew.trades for channel, one in listener.told.items()]
    for channel, one in told:
        _, exchange, symbol = channel.split(":")
        difference = compare_stream(one, find(truth.markets, exchange, symbol).times())
        if not difference.is_none:
            wrong.append(
                f"{channel}: missed {len(difference.missed)} {difference.missed[:SHOWN]}, "
                f"doubled {len(difference.doubled)} {difference.doubled[:SHOWN]}, "
                f"invented {len(difference.invented)} {difference.invented[:SHOWN]}"
            )
    asked = sum(len(listener.channels) for listener in crew.trades)
    if len(told) < asked:
        wrong.append(f"{asked - len(told)} of {asked} channels were never subscribed")
    figures = (
        f"{sum(len(one.ids) for _, one in told)} trades on {len(told)} channels; "
        f"{sum(one.connections_lost for one in crew.trades)} connections lost, "
        f"{sum(one.recovered for _, one in told)} channels recovered, {sum(len(one.gaps) for _, one in told)} gaps told"
    )
    return Finding("subscribers miss nothing and get nothing twice", not wrong, figures, tuple(wrong))


def _cvds(crew: Crew, truth: Truth) -> Finding:
    wrong: list[str] = []
    for one in crew.cvds:
        tape = find(truth.markets, one.exchange, one.symbol).tape
        if len({row.time // 86_400_000_000 for row in tape.values()}) > 1:
            continue  # the sum began anew at midnight
        wrong += [f"{one.exchange} {one.symbol}: {line}" for line in wrong_steps(one.steps, delta(tape))]
    ticks, snapshots = sum(len(one.steps) for one in crew.cvds), sum(one.snapshots for one in crew.cvds)
    figures = f"{ticks - snapshots} ticks of {len(crew.cvds)} markets, {snapshots} snapshots"
    return Finding("the running volume delta is that of the tape", not wrong, figures, tuple(wrong))


def _books(crew: Crew) -> Finding:
    books, wrong = sum(one.books for one in crew.books), sum(one.wrong for one in crew.books)
    most = max(one.most_exchanges for one in crew.books)
    return Finding(
        "a book is right or not shown",
        books > 0 and not wrong,
        f"{books} consolidated books of up to {most} exchanges, {wrong} with a wrong checksum",
    )


def _bars(crew: Crew) -> Finding:
    wrong = tuple(crew.bars.wrong)
    asked = crew.bars.told - crew.bars.unasked
    is_kept = not wrong if asked else None
    figures = f"{asked} closed bars asked for at once, {crew.bars.unasked} while REST was away"
    return Finding("told means stored", is_kept, figures, wrong)


def _orders(crew: Crew) -> Finding:
    wrong = [line for outcome in crew.outcomes for line in wrong_with(outcome)]
    wrong += [f"{order_id} was accepted and is gone" for order_id in crew.gone]
    completed = sum(outcome.close_reason == "completed" for outcome in crew.outcomes)
    fills = sum(len(outcome.fills) for outcome in crew.outcomes)
    figures = (
        f"{len(crew.outcomes)} orders: {completed} completed to the last digit in {fills} fills, "
        f"{len(crew.outcomes) - completed} expired with less; {len(crew.trader.refused)} refused"
    )
    return Finding("orders fill exactly", not wrong if completed else False, figures, tuple(wrong))


def _rest(crew: Crew) -> Finding:
    answers = ", ".join(f"{count}x {status}" for status, count in sorted(crew.reader.statuses.items()))
    figures = f"{answers}, {crew.reader.unreachable}x no answer"
    return Finding(
        "REST answers, or says that a part is away", not crew.reader.wrong, figures, tuple(crew.reader.wrong)
    )


def _memory(demo: Demo) -> Finding:
    grown = memory_growth(demo.sizes)
    judged = {name: one for name, one in grown.items() if one is not None}
    told = {
        name: f"{name} {one.typical / MIB:.0f} MiB {one.fitted / MIB:+.1f} in {one.seconds:.0f} s "
        f"({one.per_hour / MIB:+.0f}/h)"
        for name, one in judged.items()
    }
    short = [name for name, one in grown.items() if one is None]
    steep = tuple(told[name] for name, one in judged.items() if not one.is_flat(CEILINGS.get(name, 0.0)))
    figures = ", ".join(told.values()) + (f"; too short a life: {', '.join(short)}" if short else "")
    return Finding("memory is flat", not steep if judged else None, figures, steep)


def _times(what: str, seconds: Sequence[float]) -> Finding:
    if len(seconds) < 2:
        return Finding(what, None, "nothing to measure")
    p50, p99 = (percentile(seconds, percent) * 1_000 for percent in (50, 99))
    return Finding(
        what, None, f"p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {max(seconds) * 1_000:.0f} ms of {len(seconds)}"
    )


def _slices(crew: Crew) -> Finding:
    buckets = crew.gauges.slices
    p50, p99 = (bucket_percentile(buckets, percent) for percent in (50, 99))
    if p50 is None or p99 is None:
        return Finding("slice lateness", None, "nothing to measure")
    count = int(max(buckets.values()))
    return Finding("slice lateness", None, f"p50 ≤ {p50 * 1_000:.0f} ms, p99 ≤ {p99 * 1_000:.0f} ms of {count} slices")
