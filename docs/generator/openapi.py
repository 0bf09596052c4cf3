"""The platform's OpenAPI document, as the gateway makes it, from the services' apps without running any of them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import msgspec
from fastapi import FastAPI

import crosstape.auth.api.app
import crosstape.history.api.app
import crosstape.stream_hub.api
import crosstape.twap_engine.api.app
from crosstape.api_gateway.openapi import ServiceDocument, platform_document
from crosstape.api_gateway.own import create_own_app
from crosstape.api_gateway.routes import ROUTES
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.identity.services import AUTH, HISTORY, STREAM_HUB, TWAP_ENGINE
from crosstape.common.runtime.health import Health

PATH = "reference/openapi.json"


@cache
def document() -> dict[str, Any]:
    """What a gateway with the usual settings serves as /openapi.json while every service is up."""
    nothing = cast(Any, SimpleNamespace(health=Health()))  # no route is called, so none misses its resources
    tokens = InternalTokens("docs", ["no request is ever signed with this"])
    apps = {
        AUTH: crosstape.auth.api.app.create_app(nothing, Health(), tokens),
        HISTORY: crosstape.history.api.app.create_app(nothing, tokens),
        STREAM_HUB: crosstape.stream_hub.api.create_app(nothing, tokens, Health(), anonymous_read=True),
        TWAP_ENGINE: crosstape.twap_engine.api.app.create_app(nothing, tokens),
    }
    services = {name: msgspec.convert(app.openapi(), ServiceDocument) for name, app in apps.items()}
    own = create_own_app(nothing, nothing, asynccontextmanager(_never)).openapi()
    return platform_document(own, services, ROUTES, anonymous_read=True)


async def _never(app: FastAPI) -> Any:
    """The lifespan of an app that is never started."""
    yield


def page() -> str:
    """The document as a file, its routes in the order of the gateway's table."""
    return msgspec.json.format(msgspec.json.encode(document()), indent=1).decode() + "\n"
