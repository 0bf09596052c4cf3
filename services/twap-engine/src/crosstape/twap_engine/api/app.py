"""The API as an ASGI app."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.web.service_app import service_app
from crosstape.twap_engine.api import examples, orders
from crosstape.twap_engine.api.resources import Resources


class _App(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """The document, with the one schema that no model of a route is."""
        document = super().openapi()
        document["components"]["schemas"] |= examples.REQUEST_SCHEMAS
        return document


def create_app(resources: Resources, tokens: InternalTokens) -> FastAPI:
    """The routes of the contract that the TWAP engine answers. `tokens` verify the internal token of every request."""
    app = service_app("Crosstape TWAP engine", [orders.router], resources.health, tokens, kind=_App)
    app.state.resources = resources
    return app
