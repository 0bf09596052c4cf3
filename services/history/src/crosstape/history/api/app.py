"""The API as an ASGI app."""

from __future__ import annotations

from fastapi import FastAPI

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.web.service_app import service_app
from crosstape.history.api import completeness, directory, internal, klines, ohlcv, trades, verify
from crosstape.history.api.resources import Resources


def create_app(resources: Resources, tokens: InternalTokens) -> FastAPI:
    """The routes of the contract that history answers, and those for the platform's own services.

    `tokens` verify the internal token of every request.
    """
    modules = (directory, klines, ohlcv, trades, completeness, internal, verify)
    app = service_app("Crosstape history", [module.router for module in modules], resources.health, tokens)
    app.state.resources = resources
    return app
