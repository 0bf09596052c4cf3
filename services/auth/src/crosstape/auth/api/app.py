"""The API as an ASGI app."""

from __future__ import annotations

from fastapi import FastAPI

from crosstape.auth.api import account, keys, users
from crosstape.auth.resources import Resources
from crosstape.common.identity.authenticator import JWKS_PATH
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.runtime.health import Health
from crosstape.common.web.service_app import service_app


def create_app(resources: Resources, health: Health, tokens: InternalTokens) -> FastAPI:
    """The account routes of the contract; `tokens` verify who passed a request on."""
    routers = [account.router, users.router, keys.router]
    app = service_app("Crosstape auth", routers, health, tokens, open_paths=[JWKS_PATH])
    app.state.resources = resources
    return app
