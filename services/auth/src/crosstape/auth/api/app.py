"""The API as an ASGI app."""

from __future__ import annotations

from fastapi import FastAPI

from crosstape.auth.api import account, keys, users
from crosstape.auth.resources import Resources
from crosstape.common.identity.authenticator import JWKS_PATH
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.runtime.health import Health
from crosstape.common.web.continued_trace import ContinuedTrace
from crosstape.common.web.errors import install_error_handlers
from crosstape.common.web.identity import OPEN_PATHS, VerifiedCaller
from crosstape.common.web.operations import operations_routes
from crosstape.common.web.request_context import RequestContext


def create_app(resources: Resources, health: Health, tokens: InternalTokens) -> FastAPI:
    """The account routes of the contract; `tokens` verify who passed a request on."""
    app = FastAPI(title="Crosstape auth", version="1", docs_url=None, redoc_url=None)
    app.state.resources = resources
    app.router.routes.extend(operations_routes(health))
    for module in (account, users, keys):
        app.include_router(module.router)
    install_error_handlers(app)
    app.add_middleware(ContinuedTrace)
    app.add_middleware(VerifiedCaller, tokens=tokens, open_paths=OPEN_PATHS | {JWKS_PATH})
    app.add_middleware(RequestContext)
    return app
