"""The API as an ASGI app."""

from __future__ import annotations

from fastapi import FastAPI

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.web.continued_trace import ContinuedTrace
from crosstape.common.web.errors import install_error_handlers
from crosstape.common.web.identity import VerifiedCaller
from crosstape.common.web.operations import operations_routes
from crosstape.common.web.request_context import RequestContext
from crosstape.history.api import completeness, directory, internal, klines, ohlcv, trades, verify
from crosstape.history.api.resources import Resources


def create_app(resources: Resources, tokens: InternalTokens) -> FastAPI:
    """The routes of the contract that history answers, and those for the platform's own services.

    `tokens` verify the internal token of every request.
    """
    app = FastAPI(title="Crosstape history", version="1", docs_url=None, redoc_url=None)
    app.state.resources = resources
    app.router.routes.extend(operations_routes(resources.health))
    for module in (directory, klines, ohlcv, trades, completeness, internal, verify):
        app.include_router(module.router)
    install_error_handlers(app)
    app.add_middleware(ContinuedTrace)
    app.add_middleware(VerifiedCaller, tokens=tokens)
    app.add_middleware(RequestContext)
    return app
