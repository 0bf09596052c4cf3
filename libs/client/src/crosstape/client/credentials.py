"""Credentials: what requests show, and how a login stays valid."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from crosstape.client.accounts import Tokens
from crosstape.client.errors import Unauthenticated

AHEAD_SECONDS = 20.0
"""So long before it expires an access token is renewed."""
LEAST_SECONDS = 2.0
"""A token that is good for less may be over when it arrives."""

Refresh = Callable[[str], Awaitable[Tokens]]


class Credentials:
    """A token or API key that stays as it is, or the tokens of a login, which are renewed when they run out."""

    def __init__(self, bearer: str | None, refresh: Refresh):
        self._bearer = bearer
        self._refresh_with = refresh
        self._refresh_token: str | None = None
        self._expires_at = float("inf")
        self._renewal: asyncio.Task[None] | None = None

    def keep(self, tokens: Tokens) -> None:
        """Go on with `tokens`."""
        self._bearer = tokens.access_token
        self._refresh_token = tokens.refresh_token
        self._expires_at = time.monotonic() + tokens.expires_in
        self._renewal = None

    def forget(self) -> None:
        """Go on without any."""
        self._bearer = self._refresh_token = None
        self._expires_at = float("inf")

    async def bearer(self) -> str | None:
        """What to show now; None for an anonymous caller. While the next token is fetched the last one is shown as long
        as it is good; then raises what a refresh does."""
        left = self._expires_at - time.monotonic()
        if self._refresh_token is not None and left < AHEAD_SECONDS:
            renewal = self._renewing(self._refresh_token)
            if left < LEAST_SECONDS:
                await asyncio.shield(renewal)
        return self._bearer

    async def renew(self, refused: str | None) -> bool:
        """Whether there is something newer to show than `refused`. Raises what a refresh does, but Unauthenticated."""
        if self._bearer == refused and self._refresh_token is not None:
            await asyncio.shield(self._renewing(self._refresh_token))
        return self._bearer not in (None, refused)

    def _renewing(self, refresh_token: str) -> asyncio.Task[None]:
        """The refresh that is under way, or a new one: a refresh token is good once, so whoever comes second waits for
        the first one's tokens. It goes on though whoever asked for it is cancelled."""
        if self._renewal is None or self._renewal.done():
            self._renewal = asyncio.create_task(self._refresh(refresh_token))
            self._renewal.add_done_callback(_heard)
        return self._renewal

    async def _refresh(self, shown: str) -> None:
        try:
            tokens = await self._refresh_with(shown)
        except Unauthenticated:
            tokens = None
        if self._refresh_token != shown:
            return  # another login came meanwhile
        if tokens is None:
            self._refresh_token = None
        else:
            self.keep(tokens)


def _heard(renewal: asyncio.Task[None]) -> None:
    """Where nobody waits, or any more, nobody else asks how it ended, and asyncio would complain."""
    if not renewal.cancelled():
        renewal.exception()
