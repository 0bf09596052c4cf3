"""A book over HTTP: one that is not there yet is told apart from one that nobody records."""

from __future__ import annotations

from importlib import import_module

import pytest
from fastapi import FastAPI

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.runtime.health import Check, Health
from crosstape.common.testing.identity import INTERNAL_SECRET, own_headers
from crosstape.stream_hub.api import create_app
from libs.common.tests.asgi import request

harness = import_module("services.stream-hub.tests.harness")

BOOKS = ("/api/v1/book/kraken/BTC-USD", "/api/v1/book/consolidated/BTC-USD")


@pytest.mark.parametrize("url", BOOKS)
async def test_right_after_a_start_a_book_is_not_yet_read_rather_than_not_recorded(
    platform: harness.Platform, url: str
) -> None:
    health = Health(needs=("bus",))
    tokens = InternalTokens("stream-hub", [INTERNAL_SECRET])
    app = create_app(platform.desk, tokens, health, anonymous_read=True)
    early = await request(app, "GET", url, headers=own_headers("stream-hub"))
    assert (early.status, early.json()["error_code"]) == (503, "SERVICE_UNAVAILABLE")
    health.watch("bus", lambda: Check(is_up=True))
    late = await request(app, "GET", url, headers=own_headers("stream-hub"))
    assert (late.status, late.json()["error_code"]) == (404, "DATA_NOT_FOUND")


@pytest.fixture
def app(platform: harness.Platform) -> FastAPI:
    return create_app(platform.desk, InternalTokens("stream-hub", [INTERNAL_SECRET]), Health(), anonymous_read=True)


async def test_every_exchange_at_once_is_no_exchange_of_one_book(platform: harness.Platform, app: FastAPI) -> None:
    platform.book(harness.snapshot("kraken", "BTC-USD", [("60000", "1")], [("60001", "1")], None))
    answer = await request(app, "GET", "/api/v1/book/*/BTC-USD", headers=own_headers("stream-hub"))
    assert (answer.status, answer.json()["error_code"]) == (404, "EXCHANGE_NOT_FOUND")


@pytest.mark.parametrize("url", BOOKS)
async def test_prices_and_quantities_are_the_same_texts_as_numbers_and_as_strings(
    platform: harness.Platform, app: FastAPI, url: str
) -> None:
    platform.book(harness.snapshot("kraken", "BTC-USD", [("60000.10", "0.25")], [("60001", "3.0")], None))

    async def text(query: bytes) -> str:
        return (await request(app, "GET", url, headers=own_headers("stream-hub"), query=query)).body.decode()

    exchange = ',"kraken"' if "consolidated" in url else ""
    for query in (b"", b"numbers=number"):
        assert f'"bids":[[60000.1,0.25{exchange}]],"asks":[[60001,3{exchange}]]' in await text(query)
    assert f'"bids":[["60000.1","0.25"{exchange}]],"asks":[["60001","3"{exchange}]]' in await text(b"numbers=string")
    assert "VALIDATION_ERROR" in await text(b"numbers=roman")
