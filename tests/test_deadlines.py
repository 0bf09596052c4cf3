"""Who asks is more patient than who answers, so that what is late is named by the one who waits for it."""

from __future__ import annotations

from crosstape.history.exchanges import REQUEST_SECONDS
from tests.deploy import code


def test_the_gateway_outwaits_history_and_history_its_database_and_the_exchanges() -> None:
    """Else a slow exchange or database is told of as a history that is late, and the gateway leaves all of it alone."""
    gateway = code.settings_class("crosstape.api_gateway").model_fields["request_deadline_seconds"].default
    query = code.settings_class("crosstape.history").model_fields["query_seconds"].default
    assert max(query, REQUEST_SECONDS) < gateway
