"""Access tokens: JWTs that the auth service signs with Ed25519 and everybody else verifies by its JWKS (RFC 8037)."""

from __future__ import annotations

import base64
from collections.abc import Mapping

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from msgspec import Struct

from crosstape.common.errors import Unauthenticated
from crosstape.common.identity.principal import Principal, Role, Scope

ISSUER = "crosstape"
AUDIENCE = "crosstape-api"
ALGORITHM = "EdDSA"
LEEWAY_SECONDS = 5
LONGEST_TOKEN = 4096

PublicKeys = Mapping[str, Ed25519PublicKey]
"""By key id (`kid`)."""


class UnknownKey(Unauthenticated):
    """The token names a signing key that we have not got; it may be a new one, or foreign."""


class Claims(Struct, frozen=True, kw_only=True):
    """Beyond the registered claims: `sid` the login it belongs to, `ver` the account's credentials version."""

    sub: str
    jti: str
    iat: int
    exp: int
    sid: str
    ver: int
    name: str
    role: Role
    scope: str


def sign_access_token(claims: Claims, key: Ed25519PrivateKey, key_id: str) -> str:
    """The compact JWT of `claims`."""
    payload = {**msgspec.to_builtins(claims), "iss": ISSUER, "aud": AUDIENCE, "nbf": claims.iat}
    return jwt.encode(payload, key, algorithm=ALGORITHM, headers={"kid": key_id})


def read_access_token(token: str, keys: PublicKeys) -> Principal:
    """Who `token` proves. Raises Unauthenticated, and its kind UnknownKey when no key in `keys` has the token's `kid`.

    Only EdDSA is accepted, whatever the header says (RFC 8725, 3.1).
    """
    if len(token) > LONGEST_TOKEN:
        raise Unauthenticated("The token is not one of ours.")
    try:
        key_id = jwt.get_unverified_header(token).get("kid")
        key = keys.get(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise UnknownKey("The token is not one of ours.")
        payload = jwt.decode(
            token,
            key,
            algorithms=[ALGORITHM],
            audience=AUDIENCE,
            issuer=ISSUER,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "nbf", "iss", "aud", "sub", "jti"]},
        )
        claims = msgspec.convert(payload, Claims)
        scopes = frozenset(Scope(word) for word in claims.scope.split())
    except jwt.ExpiredSignatureError as error:
        raise Unauthenticated("The token has expired: refresh it (POST /refresh) or log in again.") from error
    except (jwt.PyJWTError, msgspec.ValidationError, ValueError, RecursionError) as error:
        raise Unauthenticated("The token is not one of ours.") from error
    return Principal(
        user_id=claims.sub,
        username=claims.name,
        role=claims.role,
        scopes=scopes,
        session_id=claims.sid,
        credentials_version=claims.ver,
        expires_at=claims.exp,
    )


class Jwk(Struct, frozen=True):
    """A public Ed25519 key (RFC 8037, 2)."""

    kid: str
    x: str
    kty: str = "OKP"
    crv: str = "Ed25519"
    alg: str = ALGORITHM
    use: str = "sig"


class JwkSet(Struct, frozen=True):
    """What the JWKS endpoint answers (RFC 7517, 5)."""

    keys: list[Jwk]


def public_jwk(key_id: str, key: Ed25519PublicKey) -> Jwk:
    """`key` as the JWKS endpoint shows it."""
    return Jwk(kid=key_id, x=base64.urlsafe_b64encode(key.public_bytes_raw()).rstrip(b"=").decode())


def public_keys(key_set: JwkSet) -> dict[str, Ed25519PublicKey]:
    """The Ed25519 signing keys of a set; others are left out. Raises ValueError for a malformed one."""
    return {
        jwk.kid: Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(jwk.x + "=" * (-len(jwk.x) % 4)))
        for jwk in key_set.keys
        if (jwk.kty, jwk.crv, jwk.use) == ("OKP", "Ed25519", "sig")
    }
