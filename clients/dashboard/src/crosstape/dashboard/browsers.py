"""Which browser belongs to whom, so that a reload signs nobody out: a cookie leads to what is kept here.

No script can read the cookie, no other site can have it sent, and it ends with the browser. Every load of a page
replaces it: one that somebody planted before a sign-in leads nowhere after it. What is kept never leaves this process.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

COOKIE = "crosstape_browser"
KEPT_SECONDS = 3 * 86_400.0
"""Who loads no page for so long, a weekend, signs in again."""
OVERLAP_SECONDS = 30.0
"""A replaced key still leads where it did: the answer with the new one may not have reached the browser."""
MOST_REPLACED = 10_000
"""Keys of which it is known what replaced them."""

T = TypeVar("T")


class Browsers(Generic[T]):
    """What is kept for each browser, by the key in its cookie. Safe to use from any thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[str, tuple[T, float]] = {}
        self._replaced: OrderedDict[str, str] = OrderedDict()

    def get(self, key: str) -> T | None:
        """What is kept for the browser that shows `key`."""
        with self._lock:
            found = self._find(key, self._clock())
        return found[0] if found else None

    def put(self, key: str, value: T) -> None:
        """Keep `value` for it, and let go what nobody came back for. Since its window was loaded another one may have
        replaced the key: the browser shows the newest."""
        with self._lock:
            now = self._clock()
            while key in self._replaced:
                key = self._replaced[key]
            self._kept = {known: kept for known, kept in self._kept.items() if kept[1] > now}
            if key:
                self._kept[key] = (value, now + KEPT_SECONDS)

    def renew(self, key: str) -> str:
        """A new key that leads where `key` does."""
        renewed = secrets.token_urlsafe(32)
        with self._lock:
            now = self._clock()
            if 0 < len(key) <= len(renewed):
                self._replaced[key] = renewed
                if len(self._replaced) > MOST_REPLACED:
                    self._replaced.popitem(last=False)
            if (found := self._find(key, now)) is not None:
                value, end = found
                self._kept[key] = (value, min(end, now + OVERLAP_SECONDS))
                self._kept[renewed] = (value, now + KEPT_SECONDS)
        return renewed

    def forget(self, value: T) -> None:
        """Keep it for no browser any more."""
        with self._lock:
            self._kept = {key: kept for key, kept in self._kept.items() if kept[0] is not value}

    def _find(self, key: str, now: float) -> tuple[T, float] | None:
        found = self._kept.get(key)
        return found if found is not None and found[1] > now else None


class BrowserCookie:
    """Middleware that gives the browser a new key with every page that it loads: `renew` of the one it shows."""

    def __init__(self, app: ASGIApp, renew: Callable[[str], str]) -> None:
        self._app = app
        self._renew = renew

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_page(request := Request(scope)):
            await self._app(scope, receive, send)
            return

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                key = self._renew(request.cookies.get(COOKIE, ""))
                MutableHeaders(scope=message).append("set-cookie", _cookie(key, is_secure=_is_secure(request)))
            await send(message)

        await self._app(scope, receive, with_cookie)


def _is_page(request: Request) -> bool:
    """Whether a person goes to a page: not what a page itself loads, its frames included."""
    is_navigation = "text/html" in request.headers.get("accept", "")
    is_inside = request.headers.get("sec-fetch-dest", "document") != "document"
    return request.method == "GET" and is_navigation and not is_inside


def _is_secure(request: Request) -> bool:
    """Whether the browser came by TLS, which may end at a proxy."""
    return "https" in (request.url.scheme, request.headers.get("x-forwarded-proto"))


def _cookie(key: str, *, is_secure: bool) -> str:
    response = Response()
    response.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=is_secure)
    return response.headers["set-cookie"]
