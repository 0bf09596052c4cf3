"""A ClickHouse server that nothing answers for: no engine is needed for that."""

from __future__ import annotations

import pytest
import structlog

from crosstape.common.errors import DatabaseConnectionError
from crosstape.history import store as module
from crosstape.history.store import Store


async def test_an_outage_is_logged_once_in_a_time_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AWAY_SECONDS", 3_600.0)
    store = Store("http://crosstape:secret@127.0.0.1:1/crosstape", threads=1, deadline=1.0)
    with structlog.testing.capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(DatabaseConnectionError):
                await store.rows("ping")
    await store.close()
    assert [line["event"] for line in lines] == ["database_error"]
