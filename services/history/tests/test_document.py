"""What history says of its routes in the platform's document."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.runtime.health import Health
from crosstape.common.testing.identity import INTERNAL_SECRET
from crosstape.history.api.app import create_app

Operations = dict[str, Any]

BY_MARKET = {f"/api/v1/{kind}/{{exchange}}/{{symbol}}" for kind in ("ohlcv", "trades", "completeness")}
SEED_2 = {"/api/v1/ohlcv", "/api/v1/ohlcv/latest"}
KLINES = "/klines/{exchange}/{symbol}"


@pytest.fixture
def operations() -> Operations:
    """The GET of each path of the contract's."""
    nothing = cast(Any, SimpleNamespace(health=Health()))
    paths = create_app(nothing, InternalTokens("history", [INTERNAL_SECRET])).openapi()["paths"]
    return {path: methods["get"] for path, methods in paths.items() if not path.startswith("/internal")}


@pytest.mark.parametrize(
    ("name", "least", "most", "paths"),
    [("limit", 1, 10_000, BY_MARKET | {"/api/v1/ohlcv"}), ("offset", 0, 10_000_000, {"/api/v1/ohlcv"})],
)
def test_bounds_are_said_in_words_that_programs_know(
    operations: Operations, name: str, least: int, most: int, paths: set[str]
) -> None:
    schemas = {
        path: parameter["schema"]
        for path, operation in operations.items()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == name
    }
    assert schemas.keys() == paths
    for schema in schemas.values():
        assert (schema["type"], schema["minimum"], schema["maximum"]) == ("integer", least, most)
        assert not {"ge", "le"} & schema.keys()


def test_what_looks_up_a_symbol_may_be_told_that_an_exchange_failed(operations: Operations) -> None:
    asking = {path for path, operation in operations.items() if "502" in operation["responses"]}
    assert asking == BY_MARKET | SEED_2 | {KLINES, "/{exchange}/symbols"}


@pytest.mark.parametrize(
    ("header", "paths"),
    [
        ("Deprecation", BY_MARKET | {"/api/v1/ohlcv", KLINES}),
        ("X-Quote-Alias", BY_MARKET - {"/api/v1/completeness/{exchange}/{symbol}"} | SEED_2 | {KLINES}),
    ],
)
def test_headers_of_some_answers_are_described(operations: Operations, header: str, paths: set[str]) -> None:
    answers = {path: operation["responses"]["200"] for path, operation in operations.items()}
    assert {path for path, answer in answers.items() if header in answer.get("headers", {})} == paths
