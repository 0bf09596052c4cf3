"""What operators see of a trade's way to the sockets: how long it took, and its span where it is sampled."""

from __future__ import annotations

import asyncio
import time

from prometheus_client import REGISTRY

from crosstape.common import tracing
from crosstape.common.bus.follower import Arrivals, Record
from crosstape.common.bus.topics import TRADES
from crosstape.common.market.trade import Source, batch_trades
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.tracing import traced
from crosstape.stream_hub.encoding import Encoding
from crosstape.stream_hub.fanout import Outbox
from crosstape.stream_hub.hub import Hub
from crosstape.stream_hub.market import RingSize


class Subscriber:
    def __init__(self) -> None:
        self.encoding = Encoding()
        self.written: list[bytes] = []
        self.write_now = self.written.append

    def write(self, data: bytes) -> None:
        self.written.append(data)


def delays() -> tuple[float, float]:
    """How many were measured, and their sum."""
    name = "crosstape_hub_delivery_delay_seconds"
    return REGISTRY.get_sample_value(f"{name}_count") or 0, REGISTRY.get_sample_value(f"{name}_sum") or 0


async def test_a_told_trade_is_measured_once_a_turn_and_its_span_ends_at_the_sockets() -> None:
    hub = Hub(Outbox(), RingSize(100, 300.0))
    now = time.time_ns()
    trades = [make_trade(i, exchange="x", symbol="A-B", time=now, time_received=now - 2_000_000_000) for i in (1, 2)]
    batch = batch_trades(trades, Source.STREAM)
    with traced() as exporter:
        sent = tracing.start("send trades")

        def arrive(offset: int) -> None:
            record = Record(TRADES.name, 0, offset, now // 1_000_000, batch, sent.get_span_context())
            hub.take(Arrivals("", [record], 0, is_caught_up=True))

        before = delays()
        unheard = make_trade(0, exchange="x", symbol="A-B", time=now)
        record = Record(TRADES.name, 0, 1, now // 1_000_000, batch_trades([unheard], Source.STREAM))
        hub.take(Arrivals("", [record], 0, is_caught_up=True))
        assert hub.market("x", "A-B").ticks.last is not None
        subscribers = [Subscriber(), Subscriber()]
        for subscriber in subscribers:
            hub.market("x", "A-B").trade_group.join(subscriber)
        arrive(2)
        assert exporter.get_finished_spans() == ()
        await asyncio.sleep(0)
        (span,) = exporter.get_finished_spans()
        assert [len(subscriber.written) for subscriber in subscribers] == [1, 1]
        count, seconds = delays()
        assert count - before[0] == 1
        assert 2 <= seconds - before[1] < 10
        arrive(3)  # repeats tell nobody anything
        assert delays()[0] == count
        repeated = exporter.get_finished_spans()[1]
    assert span.parent == sent.get_span_context()
    assert span.attributes is not None
    assert span.attributes["crosstape.symbol"] == "A-B"
    assert (span.attributes["crosstape.new_trades"], span.attributes["crosstape.subscribers"]) == (2, 2)
    assert repeated.attributes is not None
    assert repeated.attributes["crosstape.new_trades"] == 0
