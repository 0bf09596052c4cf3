"""What a soak must come to: pure rules from what was seen to what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from statistics import linear_regression, median

MIB = 1 << 20
ALLOWED_GROWTH_BYTES = 8 * MIB
ALLOWED_GROWTH_SHARE = 0.1
SHORTEST_JUDGED_SECONDS = 60.0
FEWEST_SAMPLES = 6
WARM_UP_SECONDS, WARM_UP_SHARE = 60.0, 0.25
CEILINGS = {"kafka": 512 * MIB, "exchange-sim": 512 * MIB}
"""What may grow up to here: Kafka by its heap of 256 MiB and what Java has beside it; the simulators by the history
that they serve, which is the last 20,000 trades of each market and a day's minutes of it."""


@dataclass(frozen=True)
class Finding:
    """A promise, whether it was kept (None: nothing to judge it by), the figures, and what is wrong."""

    promise: str
    is_kept: bool | None
    figures: str
    wrong: tuple[str, ...] = ()


# --- memory -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Growth:
    """How a process's memory went after its warm-up: `fitted` bytes of growth by least squares over `seconds`, its
    median and its largest size."""

    seconds: float
    fitted: float
    typical: float
    largest: float

    @property
    def per_hour(self) -> float:
        """Bytes an hour, were it to go on like this."""
        return self.fitted / self.seconds * 3_600

    def is_flat(self, ceiling: float = 0.0) -> bool:
        """Whether it grew by no more than a tenth of its median and 8 MiB: what caches and arenas may still do.

        What has a `ceiling` of its own (bytes) may grow up to it: Java fills its heap before it collects any of it.
        """
        return self.fitted <= ALLOWED_GROWTH_BYTES + ALLOWED_GROWTH_SHARE * self.typical or self.largest <= ceiling


def growth(samples: Sequence[tuple[float, float]], warm_up: float) -> Growth | None:
    """Of (time in s, bytes) of one process from its start on. The first `warm_up` seconds do not count; None where
    less than a minute or six samples are left."""
    if not samples:
        return None
    warm = [(time, size) for time, size in samples if time >= samples[0][0] + warm_up]
    if len(warm) < FEWEST_SAMPLES or (seconds := warm[-1][0] - warm[0][0]) < SHORTEST_JUDGED_SECONDS:
        return None
    times, sizes = zip(*warm, strict=True)
    return Growth(seconds, linear_regression(times, sizes).slope * seconds, median(sizes), max(sizes))


def memory_growth(sizes: Mapping[tuple[str, int], list[tuple[float, float]]]) -> dict[str, Growth | None]:
    """How the memory of each process went in its longest life; None where that was too short to tell.

    `sizes` are bytes over time (s) by a process's name and id.
    """
    lives: dict[str, list[tuple[float, float]]] = {}
    for (name, _), samples in sizes.items():
        if samples[-1][0] - samples[0][0] >= (lives[name][-1][0] - lives[name][0][0] if name in lives else 0.0):
            lives[name] = samples
    return {
        name: growth(samples, max(WARM_UP_SECONDS, WARM_UP_SHARE * (samples[-1][0] - samples[0][0])))
        for name, samples in lives.items()
    }


# --- streams ------------------------------------------------------------------------------------------------------


@dataclass
class Told:
    """What one channel told one subscriber: ids in their order, from `since` (Unix s) on.

    `gaps` are the spans (Unix s) of which the stream itself said that something was missed for good.
    """

    since: float
    ids: list[str] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    recovered: int = 0


@dataclass(frozen=True)
class StreamDifference:
    """What tells a stream from the tape."""

    missed: list[str]
    doubled: list[str]
    invented: list[str]

    @property
    def is_none(self) -> bool:
        return not (self.missed or self.doubled or self.invented)


def compare_stream(told: Told, tape: Mapping[str, float]) -> StreamDifference:
    """`tape` is the time (Unix s) of every trade by id. What happened in a gap that was told may lack; nothing may
    come twice, whatever happened."""
    counts = Counter(told.ids)
    return StreamDifference(
        missed=[
            trade_id
            for trade_id, time in tape.items()
            if time >= told.since
            and trade_id not in counts
            and not any(start <= time <= end for start, end in told.gaps)
        ],
        doubled=[trade_id for trade_id, count in counts.items() if count > 1],
        invented=[trade_id for trade_id in counts if trade_id not in tape],
    )


@dataclass(frozen=True)
class Step:
    """A snapshot (`delta` is None) or tick of the running volume delta; `cvd` is None while not known."""

    trade_id: str
    delta: Decimal | None
    cvd: Decimal | None


def wrong_steps(steps: Iterable[Step], final: Decimal) -> list[str]:
    """Where the sum is not the one before and the tick, a tick that comes twice, and an end that is not `final`."""
    wrong: list[str] = []
    cvd: Decimal | None = None
    seen: set[str] = set()
    for step in steps:
        if step.delta is not None:
            if cvd is not None and step.cvd != cvd + step.delta:
                wrong.append(f"trade {step.trade_id}: {cvd} and {step.delta} became {step.cvd}")
            if step.trade_id in seen:
                wrong.append(f"trade {step.trade_id} came twice")
            seen.add(step.trade_id)
        cvd = step.cvd
    if cvd != final:
        wrong.append(f"it ends with {cvd}, the tape with {final}")
    return wrong


# --- orders -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """A TWAP order as it ended. `fills` are (price, quantity)."""

    order_id: str
    side: str
    total: Decimal
    limit_price: Decimal
    status: str
    close_reason: str
    filled: Decimal
    fills: tuple[tuple[Decimal, Decimal], ...]


def wrong_with(order: Outcome) -> list[str]:
    """What may not be: open for ever, more than wanted, complete with less, a sum that is not its fills' sum, a price
    beyond the limit. An order that expired because no book was right has less, and says so."""
    total = sum((quantity for _, quantity in order.fills), Decimal(0))
    wrong = []
    if order.status == "open":
        wrong.append("is still open")
    if total != order.filled:
        wrong.append(f"says it filled {order.filled}, its fills are {total}")
    if total > order.total:
        wrong.append(f"filled {total} of {order.total}")
    if order.close_reason == "completed" and total != order.total:
        wrong.append(f"is complete with {total} of {order.total}")
    if any(
        (price > order.limit_price) is (order.side == "buy") and price != order.limit_price for price, _ in order.fills
    ):
        wrong.append("filled beyond its limit price")
    return [f"{order.order_id} {what}" for what in wrong]


# --- times --------------------------------------------------------------------------------------------------------


def merged(pairs: Iterable[Mapping[float, float]]) -> dict[float, float]:
    """Cumulative histograms (upper bound -> count) of several lives of one process, as one."""
    total: Counter[float] = Counter()
    for one in pairs:
        total.update(one)
    return dict(total)


def bucket_percentile(buckets: Mapping[float, float], percent: float) -> float | None:
    """The upper bound of the bucket that holds the percentile of a cumulative histogram; None where it is empty."""
    count = max(buckets.values(), default=0)
    return min((bound for bound, seen in buckets.items() if count and seen >= count * percent / 100), default=None)
