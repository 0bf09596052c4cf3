"""The platform's OpenAPI document as programs read it: what every operation answers, and that its examples are so."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest

from docs.generator.openapi import document

Json = dict[str, Any]


def operations() -> Iterator[tuple[str, Json]]:
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def answers() -> Iterator[tuple[str, Json]]:
    for name, operation in operations():
        for status, response in operation["responses"].items():
            for media_type, content in response.get("content", {}).items():
                yield f"{name} {status} {media_type}", content


ANSWERS = dict(answers())


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_has_a_schema_and_its_example_is_so(name: str) -> None:
    content = ANSWERS[name]
    assert content["schema"], "clients that are made from the document would know nothing of the answer"
    if "example" in content:
        schema = {**content["schema"], "components": document()["components"]}
        jsonschema_rs.Draft202012Validator(schema).validate(content["example"])


def test_operations_are_called_by_names_that_no_path_is_part_of() -> None:
    """Clients that are made from the document have their methods named so."""
    names = [operation["operationId"] for _, operation in operations()]
    assert {"bars", "login", "create_api_key", "ping"} <= set(names)
    assert len(set(names)) == len(names)
    assert max(map(len, names)) < 20


def test_every_parameter_is_explained() -> None:
    lacking = [
        (name, parameter["name"])
        for name, operation in operations()
        for parameter in operation.get("parameters", [])
        if not parameter.get("description")
    ]
    assert lacking == []


def test_numbers_that_outgrow_32_bits_say_so() -> None:
    schemas = document()["components"]["schemas"]
    for name, field in (
        ("Bar", "timestamp"),
        ("Kline", "timestamp"),
        ("Book", "sequence"),
        ("CandleMetadata", "total_records"),
    ):
        assert schemas[name]["properties"][field]["format"] == "int64", name
    assert {"type": "integer", "format": "int64"} in schemas["Trade"]["properties"]["trade_id"]["anyOf"]


@pytest.mark.parametrize("status", [429, 503])
def test_seconds_to_wait_are_a_number(status: int) -> None:
    header = document()["components"]["responses"][f"Error{status}"]["headers"]["Retry-After"]
    assert header["schema"]["type"] == "integer"


def test_a_field_that_may_be_left_out_is_never_null() -> None:
    alias = document()["components"]["schemas"]["BarPage"]["properties"]["quote_alias"]
    assert alias["type"] == "string"
    assert "null" not in json.dumps(alias)


def test_an_order_is_one_schema_alone_and_in_a_list() -> None:
    """Two of one name are none for generators of clients: they left the operation out."""
    body = document()["paths"]["/orders/twap"]["post"]["requestBody"]["content"]["application/json"]
    one, several = body["schema"]["oneOf"]
    assert several["items"] == one == {"$ref": "#/components/schemas/TwapOrder"}
    validator = jsonschema_rs.Draft202012Validator({**body["schema"], "components": document()["components"]})
    for example in body["examples"].values():
        validator.validate(example["value"])
    assert validator.is_valid(body["examples"]["one"]["value"] | {"total_quantity": "0.100000000000000001"})
    assert not validator.is_valid(body["examples"]["one"]["value"] | {"total_quantity": "much"})
