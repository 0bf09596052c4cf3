"""Who asks is more patient than who answers, so that what is late is named by the one who waits for it."""

from __future__ import annotations

from pathlib import Path

from crosstape.api_gateway.checks import LONGEST_PROBE_SECONDS
from crosstape.common.market.bar import NANOSECONDS
from crosstape.exchanges.followed_book import SILENT_NS
from crosstape.history.exchanges import REQUEST_SECONDS
from crosstape.history.main import PROBE_SECONDS
from crosstape.ingestor.assembly import COPY_SECONDS
from crosstape.stream_hub.connection import PING_SECONDS
from crosstape.stream_hub.following import BOOK_SECONDS
from crosstape.twap_engine.feed import BACK_SECONDS
from tests.deploy import code


def test_the_gateway_outwaits_history_and_history_its_database_and_the_exchanges() -> None:
    """Else a slow exchange or database is told of as a history that is late, and the gateway leaves all of it alone."""
    gateway = code.settings_class("crosstape.api_gateway").model_fields["request_deadline_seconds"].default
    query = code.settings_class("crosstape.history").model_fields["query_seconds"].default
    assert max(query, REQUEST_SECONDS) < gateway
    assert 2 * PROBE_SECONDS < LONGEST_PROBE_SECONDS, "a ping and the feeds: or a busy database is told of as away"


def test_the_hub_pings_as_often_as_the_protocol_says() -> None:
    protocol = (Path(__file__).resolve().parents[1] / "docs" / "websocket.md").read_text()
    assert f"The server pings every {PING_SECONDS:g} s;" in protocol


def test_readers_wait_for_whole_books_longer_than_ingestors_take_from_one_to_the_next() -> None:
    """Else a quiet book that is right is left for another ingestor's, and who starts begins without it."""
    silent = SILENT_NS / NANOSECONDS
    assert min(silent, BACK_SECONDS) > COPY_SECONDS
    assert COPY_SECONDS + silent < BOOK_SECONDS
