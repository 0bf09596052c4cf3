"""What routes answer while the store fails: 503 with the code of the failure, and nothing of ours."""

from __future__ import annotations

from typing import Any

import pytest

from crosstape.common.errors import DatabaseConnectionError, DatabaseError, DatabaseQueryError, DatabaseTimeout
from crosstape.common.testing.strategies import START
from crosstape.history.store import Store
from services.history.tests.conftest import Client

OPEN = START // 10**9
SECRET = "clickhouse.example:8443 SELECT password"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DatabaseConnectionError, "DATABASE_CONNECTION_ERROR"),
        (DatabaseTimeout, "DATABASE_TIMEOUT_ERROR"),
        (DatabaseQueryError, "DATABASE_QUERY_ERROR"),
    ],
)
@pytest.mark.parametrize(
    "target",
    [
        "/api/v1/ohlcv?symbol=BINANCE:{symbol}&start=2025-07-01T00:00:00Z",
        "/api/v1/ohlcv/latest?symbol=BINANCE:{symbol}",
        "/api/v1/ohlcv/binance/{symbol}?start={start}&end={end}",
        "/api/v1/trades/binance/{symbol}?start={start}&end={end}",
        "/api/v1/completeness/binance/{symbol}?start={start}&end={end}",
        "/klines/binance/{symbol}?start_date=2025-07-01&end_date=2025-07-02&interval=1h",
    ],
)
async def test_a_route_says_what_became_of_the_database(
    client: Client,
    store: Store,
    symbol: str,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    error: type[DatabaseError],
    code: str,
) -> None:
    async def fail(*query: object, **parameters: object) -> Any:
        raise error("The database is away.") from OSError(SECRET)

    path = target.format(symbol=symbol, start=OPEN, end=OPEN + 3_600)
    assert (await client(path)).status in (200, 404)  # the market list is known from now on
    for method in ("rows", "json_lines"):
        monkeypatch.setattr(store, method, fail)
    answer = await client(path)
    assert (answer.status, answer.json["error_code"]) == (503, code)
    assert SECRET.encode() not in answer.body


async def test_a_database_that_is_too_busy_to_tell_of_its_feeds_is_up_and_they_count_as_down(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = store.rows

    async def busy(query: str, **parameters: object) -> Any:
        if query == "feeds":
            raise DatabaseTimeout("too slow")
        return await rows(query, **parameters)

    monkeypatch.setattr(store, "rows", busy)
    body = (await client("/internal/status")).json
    unknown = {"status": "down", "last_event_age_ms": None}
    assert body["database"]["status"] == "up"
    assert body["feeds"] == dict.fromkeys(["binance", "kraken", "okx", "bybit"], unknown)
