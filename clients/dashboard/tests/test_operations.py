"""The playground: every operation of the served document, as a form and as the request it makes."""

from __future__ import annotations

from typing import Any

from crosstape.dashboard.operations import compact_json, curl, operations, pretty_json

DOCUMENT: dict[str, Any] = {
    "paths": {
        "/klines/{exchange}/{symbol}": {
            "get": {
                "tags": ["klines"],
                "summary": "Candles",
                "security": [{}, {"bearer": ["market:read"]}],
                "parameters": [
                    {
                        "name": "exchange",
                        "in": "path",
                        "required": True,
                        "schema": {"type": "string"},
                        "example": "okx",
                    },
                    {"name": "symbol", "in": "path", "required": True, "schema": {"examples": ["BTC/USDT"]}},
                    {
                        "name": "interval",
                        "in": "query",
                        "schema": {"anyOf": [{"$ref": "#/components/schemas/I"}, {"type": "null"}]},
                    },
                    {"name": "X-Request-ID", "in": "header", "schema": {"type": "string"}},
                ],
            }
        },
        "/orders/twap": {
            "post": {
                "summary": "Accept",
                "security": [{"bearer": ["orders:write"]}],
                "requestBody": {"content": {"application/json": {"examples": {"one": {"value": {"quantity": 1.5}}}}}},
            },
            "delete": {
                "summary": "End",
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/B"}}}},
            },
        },
    },
    "components": {
        "schemas": {
            "I": {"type": "string", "enum": ["1m", "1h"]},
            "B": {
                "type": "object",
                "properties": {"name": {"type": "string"}, "sizes": {"type": "array", "items": {"type": "integer"}}},
            },
        }
    },
}

KLINES, ACCEPT, END = operations(DOCUMENT)


def test_every_operation_is_there_with_what_it_takes_and_needs() -> None:
    assert [one.title for one in (KLINES, ACCEPT, END)] == [
        "GET /klines/{exchange}/{symbol}",
        "POST /orders/twap",
        "DELETE /orders/twap",
    ]
    assert [(field.name, field.example, field.choices) for field in KLINES.fields] == [
        ("exchange", "okx", ()),
        ("symbol", "BTC/USDT", ()),
        ("interval", "", ("1m", "1h")),
    ]
    assert (KLINES.needs, ACCEPT.needs, KLINES.group, ACCEPT.group) == ("", "orders:write", "klines", "other")


def test_a_body_without_an_example_is_made_from_its_schema() -> None:
    assert compact_json(ACCEPT.body) == '{"quantity":1.5}'
    assert compact_json(END.body) == '{"name":"text","sizes":[1]}'


def test_a_target_is_percent_encoded_and_leaves_empty_values_out() -> None:
    values = {"exchange": "okx", "symbol": "BTC/USDT", "interval": " "}
    assert KLINES.target(values) == "/klines/okx/BTC%2FUSDT"
    assert KLINES.target(values | {"interval": "1h"}).endswith("?interval=1h")
    assert KLINES.missing({"exchange": "okx"}) == ["symbol"]


def test_the_command_line_is_quoted_and_has_no_token() -> None:
    line = curl("http://127.0.0.1:8000", ACCEPT, "/orders/twap", '{"note": "it\'s"}')
    assert line.startswith('curl -X POST -H "Authorization: Bearer $CROSSTAPE_TOKEN"')
    assert line.endswith(" http://127.0.0.1:8000/orders/twap")
    assert "it'\"'\"'s" in line


def test_what_ends_something_is_asked_for_twice() -> None:
    assert (KLINES.changes_account, ACCEPT.changes_account, END.changes_account) == (False, False, True)


def test_json_is_shown_with_every_digit_and_other_bodies_as_they_are() -> None:
    assert pretty_json(b'{"price":59000.10000000000000001}') == '{\n  "price": 59000.10000000000000001\n}'
    assert pretty_json(b"not json \xff") == "not json \ufffd"
