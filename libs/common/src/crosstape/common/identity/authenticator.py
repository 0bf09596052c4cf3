"""From a Bearer credential to its principal: access tokens by the JWKS, API keys by asking the auth service once."""

from __future__ import annotations

import asyncio
import re
import time

import aiohttp
import msgspec
import structlog
from cachetools import TTLCache

from crosstape.common.errors import ServiceUnavailable, Unauthenticated
from crosstape.common.identity.access import JwkSet, PublicKeys, UnknownKey, public_keys, read_access_token
from crosstape.common.identity.internal import HEADER, REFUSED, InternalTokens
from crosstape.common.identity.principal import Principal
from crosstape.common.identity.revocations import Revocations
from crosstape.common.identity.services import AUTH
from crosstape.common.waiting import pause

log = structlog.get_logger(__name__)

JWKS_PATH = "/.well-known/jwks.json"
API_KEY_PATH = "/internal/api-key"
"""POST `{"api_key": "ctk_..."}`: its Principal, or 401."""
ABSENT_USERS_PATH = "/internal/users/absent"
"""POST `{"user_ids": [...]}`, 1 to MOST_USERS of them: `{"absent": [...]}`, those that are no account's (any more)."""
MOST_USERS = 1_000

API_KEY_PREFIX = "ctk_"
API_KEY_FORM = re.compile(API_KEY_PREFIX + r"[A-Za-z0-9]{8,32}_[A-Za-z0-9_-]{32,64}")
JWKS_SECONDS = 60.0
JWKS_SOONEST_SECONDS = 2.0
"""A token with an unknown `kid` makes us ask again, but not more often than this."""
JWKS_MISSING_SECONDS = 0.2
API_KEY_SECONDS = 30.0
REFUSAL_SECONDS = 5.0
TIMEOUT_SECONDS = 2.0
_CACHED = 10_000
_UNKNOWN: tuple[float, None] = (0.0, None)


class Authenticator:
    """Verifies what callers of one of our doors show; verified credentials are remembered for a short while.

    `run` keeps the signing keys; they outlive an absent auth service, unknown API keys do not.
    """

    def __init__(self, auth_url: str, session: aiohttp.ClientSession, tokens: InternalTokens, revocations: Revocations):
        self._auth_url = auth_url
        self._session = session
        self._tokens = tokens
        self._revocations = revocations
        self._keys: PublicKeys = {}
        self._asked_at = float("-inf")
        self._asking = asyncio.Lock()
        self._verified: dict[str, tuple[float, Principal]] = {}
        self._refused: TTLCache[str, str] = TTLCache(_CACHED, REFUSAL_SECONDS)
        self._is_believed = True

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch the signing keys now and then."""
        while not stop.is_set():
            await self._refresh_keys()
            await pause(stop, JWKS_SECONDS if self._keys else JWKS_SOONEST_SECONDS)

    async def authenticate(self, credential: str) -> Principal:
        """Who shows `credential` (an access token or an API key).

        Raises Unauthenticated, and ServiceUnavailable when only the absent auth service could tell.
        """
        if known := self.remembered(credential):
            return known
        if credential.startswith(API_KEY_PREFIX):
            principal = await self._api_key(credential)
        else:
            principal = await self._access_token(credential)
        self._remember(credential, principal)
        self.check(principal)
        return principal

    def remembered(self, credential: str) -> Principal | None:
        """Who shows `credential`, if it was verified a moment ago and has not ended since; nobody is asked.

        What has ended is verified anew: an API key outlives a change of its account's password or role.
        """
        until, principal = self._verified.get(credential, _UNKNOWN)
        return principal if principal and time.monotonic() < until and not self._has_ended(principal) else None

    def check(self, principal: Principal) -> None:
        """Raises Unauthenticated when the credential behind `principal` has ended since it was verified."""
        if _has_expired(principal):
            raise Unauthenticated("The credential has expired: refresh it (POST /refresh) or log in again.")
        if self._has_ended(principal):
            raise Unauthenticated("The credential has been revoked: log in again.")

    def _has_ended(self, principal: Principal) -> bool:
        return _has_expired(principal) or self._revocations.has_revoked(principal)

    def _remember(self, credential: str, principal: Principal) -> None:
        """A plain dict, oldest first: every request looks here, and TTLCache takes six times as long to."""
        self._verified.pop(credential, None)
        if len(self._verified) >= _CACHED:
            del self._verified[next(iter(self._verified))]
        self._verified[credential] = (time.monotonic() + API_KEY_SECONDS, principal)

    async def _access_token(self, token: str) -> Principal:
        try:
            return read_access_token(token, self._keys)
        except UnknownKey:
            if not await self._refresh_keys() and not self._keys:
                raise ServiceUnavailable("The auth service is not reachable: try again in a moment.") from None
            return read_access_token(token, self._keys)

    async def _refresh_keys(self) -> bool:
        """Whether the keys were asked for and came. One asks at a time, and whoever waits meanwhile takes its answer.

        Known keys are asked for at most every two seconds. Without any, a token waits the moment until the next try:
        the auth service may have just started.
        """
        seen = self._asked_at
        async with self._asking:
            if self._asked_at != seen:
                return bool(self._keys)
            wait = self._asked_at + (JWKS_SOONEST_SECONDS if self._keys else JWKS_MISSING_SECONDS) - time.monotonic()
            if wait > 0 and self._keys:
                return False
            await asyncio.sleep(wait)
            try:
                async with asyncio.timeout(TIMEOUT_SECONDS), self._session.get(self._auth_url + JWKS_PATH) as response:
                    response.raise_for_status()
                    self._keys = public_keys(msgspec.json.decode(await response.read(), type=JwkSet))
            except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError, ValueError) as error:
                log.warning("signing_keys_away", error=type(error).__name__)
                return False
            finally:
                self._asked_at = time.monotonic()
            return True

    async def _api_key(self, key: str) -> Principal:
        if not API_KEY_FORM.fullmatch(key):
            raise Unauthenticated("The API key is not one of ours.")
        if refusal := self._refused.get(key):
            raise Unauthenticated(refusal)
        try:
            async with (
                asyncio.timeout(TIMEOUT_SECONDS),
                self._session.post(
                    self._auth_url + API_KEY_PATH,
                    headers={**self._tokens.own(AUTH), "Content-Type": "application/json"},
                    data=msgspec.json.encode({"api_key": key}),
                ) as response,
            ):
                body = await response.read()
                was_believed, self._is_believed = self._is_believed, response.headers.get(HEADER) != REFUSED
                if not self._is_believed:
                    if was_believed:
                        log.error("identity_refused_by", service=AUTH)
                    raise ServiceUnavailable("API keys cannot be checked at the moment: try again shortly.")
                if response.status == 401:
                    self._refused[key] = "The API key is unknown, expired or revoked."
                    raise Unauthenticated(self._refused[key])
                response.raise_for_status()
                return msgspec.json.decode(body, type=Principal)
        except (aiohttp.ClientError, TimeoutError, msgspec.MsgspecError) as error:
            log.warning("api_key_check_failed", error=type(error).__name__)
            raise ServiceUnavailable("The auth service is not reachable: try again in a moment.") from error


def _has_expired(principal: Principal) -> bool:
    return 0 < principal.expires_at <= time.time()
