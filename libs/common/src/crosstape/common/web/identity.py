"""A service behind the gateway: every request shows by an internal token who is behind it, or is refused."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from crosstape.common.errors import Forbidden
from crosstape.common.identity.internal import HEADER, IdentityRefused, InternalTokens
from crosstape.common.identity.principal import Caller
from crosstape.common.web.errors import error_response

OPEN_PATHS = frozenset({"/livez", "/readyz", "/metrics"})
"""Of every service: probes and the scraper show no token."""

_HEADER = HEADER.lower().encode()


class VerifiedCaller:
    """Plain ASGI middleware: puts the verified Caller into `scope["state"]["caller"]`, answers 401 without one, with
    the header X-Crosstape-Identity `refused`.

    `/internal/...` is for services' own requests: on behalf of others it is 403.
    """

    def __init__(self, app: ASGIApp, tokens: InternalTokens, open_paths: frozenset[str] = OPEN_PATHS):
        self._app = app
        self._tokens = tokens
        self._open_paths = open_paths

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            try:
                caller = self._caller(scope)
            except (IdentityRefused, Forbidden) as error:
                await error_response(error)(scope, receive, send)
                return
            scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    def _caller(self, scope: AsgiScope) -> Caller:
        shown = [value for name, value in scope["headers"] if name == _HEADER]
        caller = self._tokens.verify(shown[0].decode("latin-1") if len(shown) == 1 else "")
        if scope["path"].startswith("/internal/") and not caller.is_service:
            raise Forbidden("This path is for services alone.")
        return caller


def caller_of(request: Request) -> Caller:
    """The verified caller of a request behind VerifiedCaller."""
    return cast(Caller, request.state.caller)


VerifiedBy = Annotated[Caller, Depends(caller_of)]
"""A FastAPI parameter: the caller."""
