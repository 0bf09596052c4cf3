"""Whether a request may pass: who is calling, how often they may, and what the route asks of them."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Mapping

from cachetools import TTLCache

from crosstape.api_gateway.headers import Heeded
from crosstape.api_gateway.limiter import Limiter
from crosstape.api_gateway.metrics import LIMITED
from crosstape.api_gateway.rates import Rate, Verdict, untouched
from crosstape.api_gateway.routes import Route
from crosstape.api_gateway.settings import GatewaySettings
from crosstape.api_gateway.turn import Turn
from crosstape.common.errors import PlatformError, RateLimited, ServiceUnavailable, Unauthenticated
from crosstape.common.identity.address import network_of
from crosstape.common.identity.authenticator import API_KEY_PREFIX, Authenticator
from crosstape.common.identity.principal import Caller, Principal, Role, Scope
from crosstape.common.identity.revocations import RevocationFeed
from crosstape.common.identity.services import API_GATEWAY
from crosstape.common.web.layout import layout_of

_SCHEME = b"bearer "
_LONGEST_CREDENTIAL = 4096 + len(_SCHEME)
_GUESSING_SECONDS = 60
"""How long an address that used up its wrong credentials is asked to wait before an API key of its is looked at."""
_GUESSING_NETWORKS = 10_000
_REFUSED_SECONDS = 1.0
"""How long a bucket that refused is asked before a service is."""
_REFUSED_BUCKETS = 10_000


class Admission:
    """Decides over every request that is not a probe's."""

    def __init__(
        self, authenticator: Authenticator, revocations: RevocationFeed, limiter: Limiter, settings: GatewaySettings
    ):
        self._authenticator = authenticator
        self._revocations = revocations
        self._limiter = limiter
        self._settings = settings
        self._rates: Mapping[Role, Rate] = {
            Role.USER: settings.limit_user,
            Role.QUANT: settings.limit_quant,
            Role.ADMIN: settings.limit_admin,
        }
        self._guessing: TTLCache[str, None] = TTLCache(_GUESSING_NETWORKS, _GUESSING_SECONDS)
        self._refused: TTLCache[str, None] = TTLCache(_REFUSED_BUCKETS, _REFUSED_SECONDS)

    async def admit(self, route: Route | None, address: str, turn: Turn) -> Caller:
        """The caller, for the service behind the route; `route` is None for the gateway's own.

        Raises Unauthenticated, Forbidden, RateLimited, and ServiceUnavailable for what cannot be told now. The
        limit's verdict is left in `turn`, whatever comes of the request.

        A read that costs one token goes to its service while the limit is asked: `turn.judged` raises RateLimited
        before the answer begins. A bucket that has just refused is asked first, so that a service hears little of it.
        """
        principal = None
        if route is None or not (route.is_login or route.is_socket):
            principal = await self._principal(address, turn)
        goes_ahead = self._limit(route, principal, address, turn)
        caller = Caller(API_GATEWAY, principal, address)
        if not goes_ahead:
            await turn.judged()
        if route:
            self._check(route, caller)
        return caller

    def bucket_of(self, turn: Turn) -> Verdict:
        """The caller's bucket with nothing taken. Nobody is asked, so a credential that is not known is none."""
        try:
            credential = credential_of(turn.heeded)
        except Unauthenticated:
            credential = None
        principal = self._authenticator.remembered(credential) if credential else None
        return untouched(self._rates[principal.role] if principal else self._settings.limit_anonymous)

    async def _principal(self, address: str, turn: Turn) -> Principal | None:
        try:
            credential = credential_of(turn.heeded)
            if credential is None:
                return None
            known = self._authenticator.remembered(credential)
            if known:
                return known
            # A wrong token costs us a signature check, a wrong API key a question to the auth service.
            if credential.startswith(API_KEY_PREFIX) and network_of(address) in self._guessing:
                await self._count_failure(address, turn)
            return await self._authenticator.authenticate(credential)
        except Unauthenticated:
            await self._count_failure(address, turn)
            raise
        except ServiceUnavailable:
            self._limit(None, None, address, turn)
            raise

    async def _count_failure(self, address: str, turn: Turn) -> None:
        network = network_of(address)
        turn.verdict = await self._limiter.take(f"wrong:{network}", self._settings.limit_failures)
        if turn.verdict.retry_after:
            self._guessing[network] = None
            raise _limited(turn.verdict, "failures", "Too many wrong credentials")

    def _limit(self, route: Route | None, principal: Principal | None, address: str, turn: Turn) -> bool:
        """Ask the limit; whether the request may go ahead meanwhile."""
        if route and route.is_login:
            bucket, key, rate = "login", f"login:{network_of(address)}", self._settings.limit_login
        elif principal is None:
            bucket, key, rate = "anonymous", f"address:{network_of(address)}", self._settings.limit_anonymous
        else:
            # By account, not by key: an account may make as many keys as it likes.
            bucket, key, rate = principal.role, f"user:{principal.user_id}", self._rates[principal.role]
        cost = cost_of(route, turn.heeded) if route else 1
        asked = self._limiter.take(key, rate, cost)
        turn.judge(functools.partial(self._judge, turn, asked, bucket, key))
        is_read = route is not None and route.method == "GET" and not route.is_socket and turn.body_length == 0
        return is_read and cost == 1 and key not in self._refused

    async def _judge(self, turn: Turn, asked: Awaitable[Verdict], bucket: str, key: str) -> None:
        """Wait for the verdict; a refusal is raised, and remembered for a while."""
        turn.verdict = await asked
        if turn.verdict.retry_after:
            self._refused[key] = None
            raise _limited(turn.verdict, bucket, "Too many requests")

    def _check(self, route: Route, caller: Caller) -> None:
        is_market = route.scope is Scope.MARKET_READ
        is_open = route.is_open and (self._settings.anonymous_read or not is_market)
        if not (is_market or route.is_open or self._revocations.is_fresh):
            raise ServiceUnavailable(
                "Whether credentials have been revoked cannot be told at the moment, so only market data is answered. "
                "Try again shortly.",
                headers={"Retry-After": "5"},
            )
        if caller.principal is None and is_open:
            return
        if route.scope:
            caller.require(route.scope)
        elif caller.principal is None:
            raise Unauthenticated("This needs a Bearer token: log in (POST /login), or use an API key.")


def credential_of(heeded: Heeded) -> str | None:
    """The Bearer credential, None without one. Raises Unauthenticated for another scheme, several or an empty one."""
    values = heeded.get(b"authorization")
    if values is None:
        return None
    if len(values) > 1:
        raise Unauthenticated("There are several Authorization headers: send one.")
    shown = values[0]
    credential = shown[len(_SCHEME) :].strip()
    if shown[: len(_SCHEME)].lower() != _SCHEME or not credential or len(shown) > _LONGEST_CREDENTIAL:
        raise Unauthenticated("Send the header as `Authorization: Bearer <token or API key>`.")
    return credential.decode("latin-1")


def cost_of(route: Route, heeded: Heeded) -> int:
    """In tokens; a whole range as a file costs more than a page. Of several Accept headers services heed the first."""
    if route.export_cost <= route.cost:
        return route.cost
    accept = heeded.get(b"accept")
    return route.export_cost if accept and layout_of(accept[0].decode("latin-1")) else route.cost


def _limited(verdict: Verdict, bucket: str, what: str) -> PlatformError:
    LIMITED.labels(bucket).inc()
    return RateLimited(f"{what}. Try again in {verdict.retry_after} s.", verdict.retry_after)
