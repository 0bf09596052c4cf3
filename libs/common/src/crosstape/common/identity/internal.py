"""Internal tokens: how one service shows another who is behind a request. Network position proves nothing."""

from __future__ import annotations

import time
from collections.abc import Sequence

import jwt
import msgspec
import structlog
from cachetools import LRUCache

from crosstape.common.errors import Unauthenticated
from crosstape.common.identity.principal import Caller
from crosstape.common.identity.secrets import check_secrets

HEADER = "X-Crosstape-Identity"
REFUSED = "refused"
"""What `HEADER` says in the answer of a service that refused the internal token: it is no word on the caller's own
credential."""
ALGORITHM = "HS256"
LIFE_SECONDS = 30
REUSE_SECONDS = 10
LEEWAY_SECONDS = 5
_CACHED = 4096
_SAY_AGAIN_SECONDS = 60.0

log = structlog.get_logger(__name__)


class IdentityRefused(Unauthenticated):
    """An internal token that proves nothing; `cause` is `missing`, `signature` (of another secret), `time` (clocks that
    differ, or it is old) or `content`."""

    def __init__(self, cause: str):
        super().__init__("This service answers the gateway: call the platform's public address.")
        self.headers[HEADER] = REFUSED
        self.cause = cause


class InternalTokens:
    """Mints and verifies the internal tokens of `service`. Both sides know the same secrets.

    The first secret signs, all of them verify: put a new one in front, roll every service, then drop the old one.
    """

    def __init__(self, service: str, secrets: Sequence[str]):
        """Raises ValueError for no secret, or one that is too short."""
        check_secrets(secrets)
        self.service = service
        self._secrets = tuple(secrets)
        self._minted: dict[tuple[str, Caller], tuple[float, str]] = {}
        self._verified: LRUCache[str, tuple[float, Caller]] = LRUCache(_CACHED)
        self._said: dict[str, float] = {}

    def own(self, audience: str) -> dict[str, str]:
        """The header of this service's own request to `audience`."""
        return {HEADER: self.mint(audience, Caller(self.service))}

    def mint(self, audience: str, caller: Caller) -> str:
        """A token for a request to the service `audience`: short-lived, and the same one for a few seconds."""
        now = time.time()
        key = (audience, caller)
        cached = self._minted.get(key)
        if cached and 0 <= now - cached[0] < REUSE_SECONDS:
            return cached[1]
        payload = {
            "iss": self.service,
            "aud": audience,
            "iat": int(now),
            "exp": int(now) + LIFE_SECONDS,
            "caller": msgspec.to_builtins(caller),
        }
        token = jwt.encode(payload, self._secrets[0], algorithm=ALGORITHM)
        self._keep(key, now, token)
        return token

    def _keep(self, key: tuple[str, Caller], now: float, token: str) -> None:
        """A plain dict, oldest first: every request looks here, and LRUCache takes four times as long to."""
        self._minted.pop(key, None)
        if len(self._minted) >= _CACHED:
            del self._minted[next(iter(self._minted))]
        self._minted[key] = (now, token)

    def verify(self, token: str) -> Caller:
        """Who is behind a request that came to this service with `token`.

        Raises IdentityRefused, and logs each cause once a minute: it is an operator's to mend.
        """
        cached = self._verified.get(token)
        if cached and time.time() < cached[0]:
            return cached[1]
        try:
            until, caller = self._read(token)
        except IdentityRefused as error:
            self._say(error.cause)
            raise
        self._verified[token] = (until, caller)
        return caller

    def _say(self, cause: str) -> None:
        now = time.monotonic()
        if now >= self._said.get(cause, now):
            self._said[cause] = now + _SAY_AGAIN_SECONDS
            log.warning("identity_refused", cause=cause)

    def _read(self, token: str) -> tuple[float, Caller]:
        """When `token` ends (Unix seconds), and whom it shows."""
        if not token:
            raise IdentityRefused("missing")
        for secret in self._secrets:
            try:
                payload = jwt.decode(
                    token,
                    secret,
                    algorithms=[ALGORITHM],
                    audience=self.service,
                    leeway=LEEWAY_SECONDS,
                    options={"require": ["exp", "iat", "iss", "aud"]},
                )
                caller = msgspec.convert(payload["caller"], Caller)
            except jwt.InvalidSignatureError:
                continue
            except (jwt.ExpiredSignatureError, jwt.ImmatureSignatureError) as error:
                raise IdentityRefused("time") from error
            except (jwt.PyJWTError, msgspec.ValidationError, KeyError, RecursionError) as error:
                raise IdentityRefused("content") from error
            return payload["exp"], caller
        raise IdentityRefused("signature")
