"""Credentials: what requests show, and how a login stays valid."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from crosstape.client.accounts import Tokens
from crosstape.client.errors import Unauthenticated

AHEAD_SECONDS = 20.0
"""So long before it expires an access token is renewed."""

Refresh = Callable[[str], Awaitable[Tokens]]


class Credentials:
    """A token or API key that stays as it is, or the tokens of a login, which are renewed when they run out."""

    def __init__(self, bearer: str | None, refresh: Refresh):
        self._bearer = bearer
        self._refresh_with = refresh
        self._refresh_token: str | None = None
        self._expires_at = float("inf")
        self._renewing = asyncio.Lock()

    def keep(self, tokens: Tokens) -> None:
        """Go on with `tokens`."""
        self._bearer = tokens.access_token
        self._refresh_token = tokens.refresh_token
        self._expires_at = time.monotonic() + tokens.expires_in

    def forget(self) -> None:
        """Go on without any."""
        self._bearer = self._refresh_token = None
        self._expires_at = float("inf")

    async def bearer(self) -> str | None:
        """What to show now; None for an anonymous caller."""
        if self._refresh_token and time.monotonic() > self._expires_at - AHEAD_SECONDS:
            await self.renew(self._bearer)
        return self._bearer

    async def renew(self, refused: str | None) -> bool:
        """Whether there is something newer to show than `refused`. Raises what a refresh does, but Unauthenticated.

        One at a time: whoever comes second finds the first one's tokens, as a refresh token is good once.
        """
        async with self._renewing:
            if self._bearer != refused:
                return self._bearer is not None
            if self._refresh_token is None:
                return False
            try:
                self.keep(await self._refresh_with(self._refresh_token))
            except Unauthenticated:
                self._refresh_token = None
                return False
            return True
