"""API keys, the signing keys' public halves, and what the doors of the platform ask about a key."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Path, Response

from crosstape.auth.api.account import login_of
from crosstape.auth.api.bodies import ApiKeyInfo, ApiKeyText, CreatedApiKey, Message, NewApiKey
from crosstape.auth.api.errors import answers
from crosstape.auth.keyring import CACHE_SECONDS
from crosstape.auth.resources import Context
from crosstape.common.identity.authenticator import API_KEY_PATH, JWKS_PATH
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.time import parse_time
from crosstape.common.web.bodies import StrictJsonRoute
from crosstape.common.web.identity import VerifiedBy

router = APIRouter(tags=["api keys"], route_class=StrictJsonRoute)

KeyId = Annotated[
    str,
    Path(
        description="`id` of the key, as GET /api-keys has it",
        max_length=32,
        pattern="^[A-Za-z0-9]+$",
        examples=["0123456789abcdef"],
    ),
]


@router.post(
    "/api-keys",
    status_code=201,
    summary="Make an API key; it is shown once",
    responses=answers(403, 409),
)
async def create_api_key(context: Context, caller: VerifiedBy, body: NewApiKey, response: Response) -> CreatedApiKey:
    end = None if body.expires_at is None else parse_time(body.expires_at, parameter="expires_at")
    if end is not None and end.is_legacy:
        response.headers["Deprecation"] = "true"
    expires_at = None if end is None else end.nanoseconds // NANOSECONDS
    key, text = await context.api_keys.create(login_of(caller), body.name, body.scopes, expires_at, caller.address)
    return CreatedApiKey.with_text(key, text)


@router.get("/api-keys", summary="Your API keys", responses=answers(403))
async def api_keys(context: Context, caller: VerifiedBy) -> list[ApiKeyInfo]:
    return [ApiKeyInfo.of(key) for key in await context.api_keys.listed(login_of(caller))]


@router.delete("/api-keys/{key_id}", summary="Revoke an API key", responses=answers(403, 404))
async def revoke_api_key(context: Context, caller: VerifiedBy, key_id: KeyId) -> Message:
    await context.api_keys.revoke(login_of(caller), key_id, caller.address)
    return Message(message="API key revoked")


@router.get(JWKS_PATH, summary="The keys that access tokens are verified by (RFC 7517)", responses=answers())
async def key_set(context: Context) -> Response:
    return Response(
        context.keys.key_set(),
        media_type="application/json",
        headers={"Cache-Control": f"public, max-age={CACHE_SECONDS}"},
    )


@router.post(API_KEY_PATH, include_in_schema=False)
async def principal(context: Context, body: ApiKeyText) -> Response:
    found = await context.api_keys.principal(body.api_key)
    return Response(msgspec.json.encode(found), media_type="application/json")
