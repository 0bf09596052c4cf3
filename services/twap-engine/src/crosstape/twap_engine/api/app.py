"""The API as an ASGI app."""

from __future__ import annotations

from fastapi import FastAPI

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.web.continued_trace import ContinuedTrace
from crosstape.common.web.errors import install_error_handlers
from crosstape.common.web.identity import VerifiedCaller
from crosstape.common.web.operations import operations_routes
from crosstape.common.web.request_context import RequestContext
from crosstape.twap_engine.api import orders
from crosstape.twap_engine.api.resources import Resources


def create_app(resources: Resources, tokens: InternalTokens) -> FastAPI:
    """The routes of the contract that the TWAP engine answers. `tokens` verify the internal token of every request."""
    app = FastAPI(title="Crosstape TWAP engine", version="1", docs_url=None, redoc_url=None)
    app.state.resources = resources
    app.router.routes.extend(operations_routes(resources.health))
    app.include_router(orders.router)
    install_error_handlers(app)
    app.add_middleware(ContinuedTrace)
    app.add_middleware(VerifiedCaller, tokens=tokens)
    app.add_middleware(RequestContext)
    return app
