"""Accounts: the open orders of one that was deleted are cancelled within seconds, as its owner would have done.

Nobody tells the engine of a deletion: it asks auth, again and again, whose accounts are gone, and so it also finds an
order that was accepted while its account was going. Every replica asks, and whoever comes first cancels. While auth
does not answer nobody counts as gone, and orders go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp
import msgspec
import structlog
from msgspec import Struct

from crosstape.common.errors import DatabaseError
from crosstape.common.identity.authenticator import ABSENT_USERS_PATH, MOST_USERS
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.identity.services import AUTH
from crosstape.common.waiting import pause, unless_stopped
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.engine import Engine
from crosstape.twap_engine.store.cancel import cancel_some, with_open_orders
from crosstape.twap_engine.store.database import Database

log = structlog.get_logger(__name__)

LOOK_SECONDS = 5.0
TIMEOUT_SECONDS = 5.0


class _Absent(Struct):
    absent: set[str]


class Accounts:
    """Asks the auth service at `auth_url`; `engine` drops what is cancelled here."""

    def __init__(
        self,
        database: Database,
        engine: Engine,
        clock: Clock,
        auth_url: str,
        session: aiohttp.ClientSession,
        tokens: InternalTokens,
    ):
        self._database = database
        self._engine = engine
        self._clock = clock
        self._url = auth_url + ABSENT_USERS_PATH
        self._session = session
        self._tokens = tokens

    async def run(self, stop: asyncio.Event) -> None:
        """Look every five seconds until `stop`. That it cannot be done is said once, until it could be again."""
        is_behind = False
        while not stop.is_set():
            try:
                await unless_stopped(stop, self.step())
            except (DatabaseError, aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
                if not is_behind:
                    log.warning("accounts_not_checked", error=type(error).__name__)
                is_behind = True
            else:
                is_behind = False
            await pause(stop, LOOK_SECONDS)

    async def step(self) -> None:
        """Cancel the open orders of whoever is gone.

        Raises DatabaseError, and aiohttp.ClientError, TimeoutError or msgspec.MsgspecError when auth did not answer.
        """
        users = await with_open_orders(self._database)
        for first in range(0, len(users), MOST_USERS):
            asked = users[first : first + MOST_USERS]
            absent = await self._absent(asked)
            for user_id in asked:
                if user_id in absent:
                    await self._cancel(user_id)

    async def _absent(self, user_ids: Sequence[str]) -> set[str]:
        async with (
            asyncio.timeout(TIMEOUT_SECONDS),
            self._session.post(
                self._url,
                headers={**self._tokens.own(AUTH), "Content-Type": "application/json"},
                data=msgspec.json.encode({"user_ids": user_ids}),
            ) as response,
        ):
            response.raise_for_status()
            return msgspec.json.decode(await response.read(), type=_Absent).absent

    async def _cancel(self, user_id: str) -> None:
        count = 0
        while cancelled := await cancel_some(self._database, user_id, self._clock):
            for number in cancelled:
                self._engine.drop(number)
            count += len(cancelled)
        if count:  # else another replica came first
            log.info("orders_of_deleted_account_cancelled", user_id=user_id, orders=count)
