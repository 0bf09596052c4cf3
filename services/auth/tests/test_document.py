"""The service's part of the platform's document: every route, every status it answers with, examples that hold."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from services.auth.tests.harness import Auth

ROUTES = {
    ("post", "/register"): {200, 409},
    ("post", "/login"): {200},
    ("post", "/refresh"): {200},
    ("post", "/logoff"): {200, 403},
    ("delete", "/unregister"): {200, 403},
    ("post", "/password"): {200, 403},
    ("get", "/info"): {200},
    ("get", "/users"): {200, 403},
    ("patch", "/users/{username}"): {200, 403, 404, 409},
    ("post", "/api-keys"): {201, 403, 409},
    ("get", "/api-keys"): {200, 403},
    ("delete", "/api-keys/{key_id}"): {200, 403, 404},
    ("get", "/.well-known/jwks.json"): {200},
}
OF_EVERY_ROUTE = {401, 413, 422, 429, 500, 503}


@pytest.fixture
async def document(quick_auth: Auth) -> Any:
    return (await quick_auth.ask("GET", "/openapi.json")).json()


async def test_every_route_is_described_with_every_status_it_answers(document: Any) -> None:
    described = {
        (method, path): {int(status) for status in operation["responses"]}
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    assert described == {route: statuses | OF_EVERY_ROUTE for route, statuses in ROUTES.items()}
    assert all(operation["summary"] for methods in document["paths"].values() for operation in methods.values())


async def test_the_examples_hold(document: Any) -> None:
    found = 0
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        for example in schema.get("examples", []):
            jsonschema_rs.validate({**schema, "components": document["components"]}, example)
            found += 1
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    example = response["content"]["application/json"]["example"]
                    jsonschema_rs.validate(schemas["Error"], example)
                    found += 1
    assert found > 80
