"""The HTTP API of a service behind the gateway: what all of them have around their routes."""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter

from fastapi import APIRouter, FastAPI

from crosstape.common.identity.internal import InternalTokens
from crosstape.common.runtime.health import Health
from crosstape.common.web.continued_trace import ContinuedTrace
from crosstape.common.web.errors import install_error_handlers
from crosstape.common.web.identity import OPEN_PATHS, VerifiedCaller
from crosstape.common.web.operations import operations_routes
from crosstape.common.web.request_context import RequestContext


def service_app(
    title: str,
    routers: Iterable[APIRouter],
    health: Health,
    tokens: InternalTokens,
    *,
    open_paths: Iterable[str] = (),
    kind: type[FastAPI] = FastAPI,
) -> FastAPI:
    """The routes with probes, metrics, request ids, traces and the contract's errors. `tokens` verify the internal
    token of every request, but of probes, metrics and `open_paths`. An operation is called by its function's name.
    """
    app = kind(title=title, version="1", docs_url=None, redoc_url=None, generate_unique_id_function=attrgetter("name"))
    app.router.routes.extend(operations_routes(health))
    for router in routers:
        app.include_router(router)
    install_error_handlers(app)
    app.add_middleware(ContinuedTrace)
    app.add_middleware(VerifiedCaller, tokens=tokens, open_paths=OPEN_PATHS.union(open_paths))
    app.add_middleware(RequestContext)  # the last one is the first to see a request
    return app
