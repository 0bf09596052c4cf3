"""What operators see of a query: which request it was for, its name and how much it answered, never its text."""

from __future__ import annotations

import pytest
import structlog

from crosstape.common import tracing
from crosstape.common.errors import DatabaseConnectionError, DatabaseError
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.tracing import traced
from crosstape.history.store import Store
from services.history.tests.harness import Sink

pytestmark = pytest.mark.integration


async def test_a_failed_query_is_logged_with_the_request_it_was_for(store: Store) -> None:
    merge = structlog.contextvars.merge_contextvars
    with (
        structlog.testing.capture_logs(processors=[merge]) as lines,
        structlog.contextvars.bound_contextvars(request_id="mine"),
        pytest.raises(DatabaseError),
    ):
        await store.execute("SELECT secret FROM nowhere")
    assert [line["request_id"] for line in lines if line["event"] == "database_error"] == ["mine"]


async def test_a_query_of_something_sampled_has_a_span_with_its_name_and_its_rows(store: Store) -> None:
    with traced() as exporter:
        await store.rows("ping")
        assert exporter.get_finished_spans() == ()
        with tracing.trace("request"):
            await store.rows("symbols", exchange="secret")
        query, request = exporter.get_finished_spans()
    assert (query.name, query.parent) == ("symbols", request.get_span_context())
    assert query.attributes == {
        "db.system.name": "clickhouse",
        "db.query.summary": "symbols",
        "db.response.returned_rows": 0,
    }


async def test_who_asks_while_the_service_stops_is_told_to_try_again(store: Store, store_url: str) -> None:
    stopping = Store(store_url, threads=1, deadline=15.0)
    await stopping.rows("ping")
    await stopping.close()
    with pytest.raises(DatabaseConnectionError, match="stopping"):
        await stopping.rows("ping")
    assert await store.rows("ping")


async def test_closing_minutes_is_a_trace_in_which_the_bars_are_told(sink: Sink, symbol: str) -> None:
    await sink.insert([make_trade(1, exchange="binance", symbol=symbol)])
    with traced() as exporter:
        await sink.close_all()
    (close,) = [span for span in exporter.get_finished_spans() if span.name == "close minutes"]
    inner = [span.name for span in exporter.get_finished_spans() if span.parent == close.get_span_context()]
    assert inner[:3] == ["stored_minutes", "tape_minutes", "insert bars"]
    assert close.attributes == {"crosstape.minutes": 1}
    assert sink.told.contexts == [close.get_span_context()]
