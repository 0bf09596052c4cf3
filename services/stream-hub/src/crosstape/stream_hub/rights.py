"""Whose a socket is, and whether what its client showed still holds for as long as the socket is open."""

from __future__ import annotations

import asyncio
import random
from functools import partial
from typing import TYPE_CHECKING

from crosstape.common.errors import PlatformError, ServiceUnavailable
from crosstape.common.identity.principal import Principal
from crosstape.stream_hub.protocol import Closing, closing

if TYPE_CHECKING:
    from crosstape.stream_hub.connection import Connection
    from crosstape.stream_hub.door import Door

ASK_SECONDS = 300.0
"""So often the auth service is asked whether an API key still holds: this hub may have missed its end."""


class Rights:
    """Of one socket: `principal` is its client, None before any is known.

    An API key that seems to have ended is asked for, as it outlives a change of its account's password or role. A login
    does not.
    """

    def __init__(self, connection: Connection, door: Door):
        self._connection = connection
        self._door = door
        self._credential = ""
        self._asked = 0.0
        self._asking: asyncio.Task[None] | None = None
        self.principal: Principal | None = None

    async def show(self, credential: str) -> None:
        """The client shows another one. Raises Unauthenticated, Forbidden, TooMany, ServiceUnavailable."""
        principal = await self._door.authenticate(credential, self._connection)
        if self.principal is None:
            self._door.admit_user(principal.user_id)
        self.principal, self._credential = principal, credential
        # After a restart thousands come at once: their keys are asked for one by one.
        self._asked = asyncio.get_running_loop().time() - random.uniform(0, ASK_SECONDS)

    def look(self, now: float) -> Closing | None:
        """How the socket ends if its credential has; `now` is the loop's time. An API key may end it in a moment."""
        principal = self.principal
        if principal is None or (self._asking is not None and not self._asking.done()):
            return None
        ended = self._door.ended(principal)
        if not principal.api_key_id:
            return None if ended is None else closing(ended)
        if ended is not None or now - self._asked >= ASK_SECONDS:
            self._asking = self._connection.spawn(partial(self._ask_again, seems_ended=ended is not None))
        return None

    async def _ask_again(self, *, seems_ended: bool) -> None:
        credential = self._credential
        try:
            principal = await self._door.authenticate(credential, self._connection)
        except PlatformError as error:
            is_known = seems_ended or not isinstance(error, ServiceUnavailable)
            if is_known and self._credential == credential:
                self._connection.end(closing(error))
        else:
            if self._credential == credential:
                self.principal = principal
        self._asked = asyncio.get_running_loop().time()
