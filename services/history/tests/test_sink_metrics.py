"""What the sink shows operators, where no store is needed for it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from prometheus_client import REGISTRY

from crosstape.common.bus.consumer import Batch, Consumer
from crosstape.common.bus.topics import DeadLetter
from crosstape.history.sink import metrics
from crosstape.history.sink.touched import TouchedMinutes
from crosstape.history.sink.writer import Writer


class Producer:
    async def deliver(self, topic: object, key: bytes, record: object) -> None:
        """Taken."""


def writer() -> Writer:
    return Writer(cast(Any, None), cast(Any, Producer()), TouchedMinutes(grace=0, quiet=0))


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("record version 9, this reader knows 1 to 1", "undecodable"),
        ("price", "price"),
        ("ledger_event", "ledger_event"),
    ],
)
async def test_dead_letters_are_counted_under_words_that_are_known_before_the_first_one(
    reason: str, shown: str
) -> None:
    def count() -> float:
        return REGISTRY.get_sample_value("crosstape_history_dead_letters_total", {"reason": shown}) or 0.0

    assert shown in metrics.REASONS
    before = count()
    await writer().write(Batch({}, [DeadLetter("trades", 0, 5, "k", reason, b"")], {}, 0))
    assert count() == before + 1


async def test_a_sink_that_gets_nothing_more_is_not_behind_for_ever() -> None:
    """The age of the last batch it stored says nothing once others have its partitions, or nobody trades."""
    stop = asyncio.Event()

    class Bus:
        async def batches(self, **limits: object) -> AsyncIterator[Batch]:
            metrics.LAG_SECONDS.set(40)
            stop.set()
            yield Batch({}, [], {}, 0)

    await writer().run(cast(Consumer, Bus()), stop, flush_rows=1, flush_seconds=1.0)
    assert REGISTRY.get_sample_value("crosstape_history_lag_seconds") == 0
