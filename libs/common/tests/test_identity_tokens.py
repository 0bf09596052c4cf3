"""Access tokens and internal tokens: ours prove what they say, and nobody else's prove anything."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.errors import Forbidden, Unauthenticated
from crosstape.common.identity import internal
from crosstape.common.identity.access import (
    AUDIENCE,
    ISSUER,
    LONGEST_TOKEN,
    Claims,
    JwkSet,
    UnknownKey,
    public_jwk,
    public_keys,
    read_access_token,
    sign_access_token,
)
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.identity.principal import ROLE_SCOPES, Caller, Principal, Role, Scope

KEY, FOREIGN_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
KEYS = {"now": KEY.public_key()}
SECRET, OTHER_SECRET = "s" * 32, "o" * 32


def claims(**changes: Any) -> Claims:
    now = int(time.time())
    known: dict[str, Any] = {
        "sub": "u1",
        "jti": "j1",
        "iat": now,
        "exp": now + 900,
        "sid": "s1",
        "ver": 3,
        "name": "alice",
        "role": Role.QUANT,
        "scope": "market:read orders:read",
    }
    return Claims(**{**known, **changes})


def payload(**changes: Any) -> dict[str, Any]:
    """Of a good token, changed; None removes a claim."""
    good = {**msgspec.to_builtins(claims()), "iss": ISSUER, "aud": AUDIENCE, "nbf": int(time.time())}
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


def signed(body: dict[str, Any], headers: dict[str, Any] | None = None) -> str:
    return jwt.encode(body, KEY, algorithm="EdDSA", headers={"kid": "now", **(headers or {})})


def encoded(part: bytes | dict[str, Any]) -> str:
    content = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def raw(header: bytes | dict[str, Any], body: bytes | dict[str, Any], signature: bytes | None = None) -> str:
    """A token put together by hand; with our own good signature unless another is given."""
    text = f"{encoded(header)}.{encoded(body)}"
    return f"{text}.{encoded(KEY.sign(text.encode()) if signature is None else signature)}"


def keyed_with_the_public_key(public: bytes) -> str:
    header = {"alg": "HS256", "typ": "JWT", "kid": "now"}
    text = f"{encoded(header)}.{encoded(payload())}"
    return f"{text}.{encoded(hmac.new(public, text.encode(), hashlib.sha256).digest())}"


NOW = int(time.time())
EDDSA = {"alg": "EdDSA", "typ": "JWT", "kid": "now"}
GOOD = sign_access_token(claims(iat=NOW, exp=NOW + 7_200), KEY, "now")
HOSTILE: dict[str, Callable[[], str]] = {
    "nothing": lambda: "",
    "dots": lambda: "..",
    "not a token": lambda: "Bearer abc",
    "not ASCII": lambda: "é.é.é",
    "lone surrogates": lambda: "\ud800.\ud800.\ud800",
    "null bytes": lambda: "\x00.\x00.\x00",
    "alg none": lambda: raw({**EDDSA, "alg": "none"}, payload(), b""),
    "alg nOnE": lambda: raw({**EDDSA, "alg": "nOnE"}, payload(), b""),
    "alg none, well signed": lambda: raw({**EDDSA, "alg": "none"}, payload()),
    "no alg": lambda: raw({"typ": "JWT", "kid": "now"}, payload()),
    "alg is a list": lambda: raw({**EDDSA, "alg": ["EdDSA"]}, payload()),
    "HS256 keyed with the raw public key": lambda: keyed_with_the_public_key(KEYS["now"].public_bytes_raw()),
    "HS256 keyed with the PEM": lambda: keyed_with_the_public_key(
        KEYS["now"].public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    ),
    "HS256 keyed with the JWK": lambda: keyed_with_the_public_key(msgspec.json.encode(public_jwk("now", KEYS["now"]))),
    "HS256 keyed with nothing": lambda: keyed_with_the_public_key(b""),
    "ES256": lambda: jwt.encode(payload(), generate_private_key(SECP256R1()), "ES256", {"kid": "now"}),
    "another's key under our kid": lambda: jwt.encode(payload(), FOREIGN_KEY, "EdDSA", {"kid": "now"}),
    "its own key in the header": lambda: jwt.encode(
        payload(),
        FOREIGN_KEY,
        "EdDSA",
        {"kid": "now", "jwk": msgspec.to_builtins(public_jwk("now", FOREIGN_KEY.public_key()))},
    ),
    "an address of keys in the header": lambda: jwt.encode(
        payload(), FOREIGN_KEY, "EdDSA", {"kid": "now", "jku": "http://127.0.0.1:1/keys", "x5u": "http://127.0.0.1:1"}
    ),
    "an unknown critical extension": lambda: raw({**EDDSA, "crit": ["exp2"], "exp2": 1}, payload()),
    "unencoded payload": lambda: raw({**EDDSA, "b64": False, "crit": ["b64"]}, payload()),
    "no signature": lambda: GOOD.rpartition(".")[0] + ".",
    "half a signature": lambda: GOOD[:-43],
    "a tampered payload": lambda: ".".join([GOOD.split(".")[0], encoded(payload(role="admin")), GOOD.split(".")[2]]),
    "a tampered header": lambda: ".".join([encoded({**EDDSA, "typ": "at+jwt"}), *GOOD.split(".")[1:]]),
    "four parts": lambda: GOOD + "." + GOOD.split(".")[2],
    "expired": lambda: signed(payload(iat=NOW - 1000, nbf=NOW - 1000, exp=NOW - 60)),
    "not yet valid": lambda: signed(payload(nbf=NOW + 7_000, exp=NOW + 7_200)),
    "issued in the future": lambda: signed(payload(iat=NOW + 7_000, exp=NOW + 7_200)),
    "wrong audience": lambda: signed(payload(aud="another-api")),
    "wrong issuer": lambda: signed(payload(iss="another-issuer")),
    "issuer in a list": lambda: raw(EDDSA, payload(iss=[ISSUER])),
    **{f"without {name}": lambda name=name: signed(payload(**{name: None})) for name in payload()},  # type: ignore[misc]
    "an unknown role": lambda: signed(payload(role="root")),
    "an unknown scope": lambda: signed(payload(scope="market:read everything")),
    "a name that is a list": lambda: signed(payload(name=["alice"])),
    "a version that is text": lambda: signed(payload(ver="3")),
    "an expiry that is text": lambda: raw(EDDSA, payload(exp="tomorrow")),
    "an expiry that is NaN": lambda: raw(EDDSA, json.dumps(payload(exp=float("nan"))).encode()),
    "a payload that is a list": lambda: raw(EDDSA, b"[1]"),
    "a payload that is no JSON": lambda: raw(EDDSA, b"{"),
    "a payload that is no UTF-8": lambda: raw(EDDSA, b'{"sub":"\xff"}'),
    "a header that is a list": lambda: raw(b"[]", payload()),
    "a deep header": lambda: raw(b"[" * 2000, b"{}", b""),
    "a deep payload": lambda: raw(EDDSA, b'{"a":' + b"[" * 2000),
    "longer than any of ours": lambda: signed(payload(more="x" * LONGEST_TOKEN)),
    "10 MB": lambda: "a" * 10_000_000,
}
KIDS = ["", "then", "../../etc/passwd", "' OR 1=1", "x" * 1000, 7, ["now"], {"now": 1}]


def test_a_token_of_ours_proves_who_it_is() -> None:
    assert read_access_token(GOOD, KEYS) == Principal(
        user_id="u1",
        username="alice",
        role=Role.QUANT,
        scopes=frozenset({Scope.MARKET_READ, Scope.ORDERS_READ}),
        session_id="s1",
        credentials_version=3,
        expires_at=NOW + 7_200,
    )


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE)
def test_any_other_token_proves_nothing(token: Callable[[], str]) -> None:
    with pytest.raises(Unauthenticated) as refused:
        read_access_token(token(), KEYS)
    assert refused.value.headers == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize("kid", KIDS, ids=str)
def test_a_kid_is_looked_up_and_never_followed(kid: object) -> None:
    with pytest.raises(Unauthenticated):
        read_access_token(raw({**EDDSA, "kid": kid}, payload()), KEYS)
    if isinstance(kid, str):
        with pytest.raises(UnknownKey):
            read_access_token(raw({**EDDSA, "kid": kid}, payload()), KEYS)


def test_a_missing_kid_is_an_unknown_key() -> None:
    with pytest.raises(UnknownKey):
        read_access_token(raw({"alg": "EdDSA", "typ": "JWT"}, payload()), KEYS)


def test_an_expired_token_says_so_and_clocks_may_differ_by_a_little() -> None:
    with pytest.raises(Unauthenticated, match="expired: refresh it"):
        read_access_token(signed(payload(exp=NOW - 60)), KEYS)
    assert read_access_token(signed(payload(nbf=int(time.time()) + 2)), KEYS).username == "alice"


def test_claims_nobody_asked_for_change_nothing() -> None:
    more = signed(payload(exp=NOW + 7_200, is_admin=True, scopes=["admin"], user_id="u2", credentials_version=99))
    assert read_access_token(more, KEYS) == read_access_token(GOOD, KEYS)


@given(st.integers(0, len(GOOD) - 1), st.sampled_from("AZaz09-_.=\x00é"))
def test_a_token_with_any_character_changed_proves_nothing_new(position: int, character: str) -> None:
    changed = GOOD[:position] + character + GOOD[position + 1 :]
    try:
        principal = read_access_token(changed, KEYS)
    except Unauthenticated:
        return
    assert principal == read_access_token(GOOD, KEYS)  # the last digits of base64 have spare bits


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda text: text.decode("latin-1")))
def test_whatever_is_shown_is_refused_and_never_an_error_of_ours(token: str) -> None:
    with pytest.raises(Unauthenticated):
        read_access_token(token, KEYS)
    with pytest.raises(Unauthenticated):
        InternalTokens("history", [SECRET]).verify(token)


def test_the_longest_names_fit_a_token() -> None:
    longest = claims(name="\U0001f600" * 64, scope=" ".join(Scope), sub="u" * 36, sid="s" * 36)
    assert read_access_token(sign_access_token(longest, KEY, "k" * 16), {"k" * 16: KEYS["now"]}).username[0] == "😀"


def test_a_key_set_is_read_as_it_was_written() -> None:
    text = msgspec.json.encode(JwkSet([public_jwk("now", KEYS["now"])]))
    read = public_keys(msgspec.json.decode(text, type=JwkSet))
    assert read_access_token(GOOD, read).username == "alice"


def test_keys_of_other_kinds_are_left_out_of_a_set() -> None:
    ours = public_jwk("now", KEYS["now"])
    others = [
        msgspec.structs.replace(ours, kid=kid, **change)
        for kid, change in (("a", {"kty": "RSA"}), ("b", {"crv": "X25519"}), ("c", {"use": "enc"}))
    ]
    assert set(public_keys(JwkSet([*others, ours]))) == {"now"}


@pytest.mark.parametrize("x", ["", "AAAA", "!!!", "A" * 44, "é"])
def test_a_malformed_key_is_no_set(x: str) -> None:
    with pytest.raises(ValueError):
        public_keys(JwkSet([msgspec.structs.replace(public_jwk("now", KEYS["now"]), x=x)]))


PRINCIPAL = read_access_token(GOOD, KEYS)
CALLERS = [
    Caller("api-gateway", PRINCIPAL, "203.0.113.7"),
    Caller("api-gateway", None, "203.0.113.7"),
    Caller("api-gateway"),
    Caller("api-gateway", msgspec.structs.replace(PRINCIPAL, session_id="", api_key_id="k1", expires_at=0), "::1"),
]


@pytest.mark.parametrize("caller", CALLERS, ids=["a login", "anonymous", "the service itself", "an API key"])
def test_an_internal_token_carries_the_caller_to_its_audience(caller: Caller) -> None:
    gateway, history = InternalTokens("api-gateway", [SECRET]), InternalTokens("history", [SECRET])
    token = gateway.mint("history", caller)
    for _ in range(2):
        assert history.verify(token) == caller
    with pytest.raises(Unauthenticated):
        InternalTokens("auth", [SECRET]).verify(token)


def test_a_token_is_reused_for_a_moment_and_then_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    tokens = InternalTokens("api-gateway", [SECRET])
    first = tokens.mint("history", CALLERS[0])
    assert tokens.mint("history", CALLERS[0]) == first
    assert tokens.mint("auth", CALLERS[0]) != first
    assert tokens.mint("history", CALLERS[1]) != first
    monkeypatch.setattr(internal.time, "time", lambda: now + internal.REUSE_SECONDS + 1)
    assert tokens.mint("history", CALLERS[0]) != first


def test_a_verified_token_is_not_remembered_beyond_its_expiry(monkeypatch: pytest.MonkeyPatch) -> None:
    history = InternalTokens("history", [SECRET])
    past = int(time.time()) - 10
    body = {"iss": "api-gateway", "aud": "history", "iat": past - 30, "caller": {"service": "api-gateway"}}
    with pytest.raises(Unauthenticated):
        history.verify(jwt.encode({**body, "exp": past}, SECRET, "HS256"))
    fresh = jwt.encode({**body, "exp": past + 40}, SECRET, "HS256")
    assert history.verify(fresh).is_service
    monkeypatch.setattr(internal.time, "time", lambda: past + 40 + internal.LEEWAY_SECONDS)
    monkeypatch.setattr(jwt.api_jwt, "datetime", _Later)
    with pytest.raises(Unauthenticated):
        history.verify(fresh)


class _Later(jwt.api_jwt.datetime):  # type: ignore[name-defined,misc]
    """PyJWT's clock, an hour ahead."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return jwt.api_jwt.datetime.fromtimestamp(time.time() + 3600, tz)


def test_secrets_are_rotated_without_a_gap() -> None:
    old, both, new = ([SECRET], [OTHER_SECRET, SECRET], [OTHER_SECRET])
    for sender, receiver in ((old, both), (both, both), (both, new), (new, both)):
        token = InternalTokens("api-gateway", sender).mint("history", CALLERS[0])
        assert InternalTokens("history", receiver).verify(token) == CALLERS[0]
    with pytest.raises(Unauthenticated):
        InternalTokens("history", new).verify(InternalTokens("api-gateway", old).mint("history", CALLERS[0]))


@pytest.mark.parametrize("secrets", [[], [""], ["short"], [SECRET, "short"], ["é" * 15]])
def test_a_weak_secret_is_refused(secrets: list[str]) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        InternalTokens("history", secrets)


def internal_payload(**changes: Any) -> dict[str, Any]:
    good: dict[str, Any] = {
        "iss": "api-gateway",
        "aud": "history",
        "iat": NOW,
        "exp": NOW + 7_000,
        "caller": {"service": "api-gateway"},
    }
    return {name: value for name, value in {**good, **changes}.items() if value is not None}


INTERNAL_HOSTILE: dict[str, Callable[[], str]] = {
    "alg none": lambda: raw({"alg": "none"}, internal_payload(), b""),
    "HS512": lambda: jwt.encode(internal_payload(), SECRET * 2, "HS512"),
    "an access token": lambda: GOOD,
    "EdDSA": lambda: jwt.encode(internal_payload(), KEY, "EdDSA"),
    "another secret": lambda: jwt.encode(internal_payload(), OTHER_SECRET, "HS256"),
    "expired": lambda: jwt.encode(internal_payload(exp=NOW - 60), SECRET, "HS256"),
    "issued in the future": lambda: jwt.encode(internal_payload(iat=NOW + 7_000), SECRET, "HS256"),
    "another audience": lambda: jwt.encode(internal_payload(aud="auth"), SECRET, "HS256"),
    **{
        f"without {name}": lambda name=name: jwt.encode(internal_payload(**{name: None}), SECRET, "HS256")  # type: ignore[misc]
        for name in ("iss", "aud", "iat", "exp", "caller")
    },
    "a caller that is text": lambda: jwt.encode(internal_payload(caller="api-gateway"), SECRET, "HS256"),
    "a role nobody has": lambda: jwt.encode(
        internal_payload(caller={"service": "x", "principal": {**msgspec.to_builtins(PRINCIPAL), "role": "root"}}),
        SECRET,
        "HS256",
    ),
    "a principal without its version": lambda: jwt.encode(
        internal_payload(caller={"service": "x", "principal": {"user_id": "u1", "username": "alice"}}), SECRET, "HS256"
    ),
}


@pytest.mark.parametrize("token", INTERNAL_HOSTILE.values(), ids=INTERNAL_HOSTILE)
def test_any_other_internal_token_is_refused(token: Callable[[], str]) -> None:
    with pytest.raises(Unauthenticated, match="call the platform's public address"):
        InternalTokens("history", [SECRET]).verify(token())


def test_only_a_service_that_asks_for_itself_is_a_service() -> None:
    assert [caller.is_service for caller in CALLERS] == [False, False, True, False]


def test_what_a_caller_may_do_is_what_its_credential_carries() -> None:
    login = CALLERS[0]
    assert login.require(Scope.MARKET_READ) is login.principal
    with pytest.raises(Forbidden) as refused:
        login.require(Scope.ORDERS_WRITE)
    assert refused.value.details == {"required_scope": "orders:write"}
    for nobody in (CALLERS[1], CALLERS[2]):
        with pytest.raises(Unauthenticated):
            nobody.require(Scope.MARKET_READ)


def test_only_an_admin_may_carry_the_admin_scope() -> None:
    assert {role for role, scopes in ROLE_SCOPES.items() if Scope.ADMIN in scopes} == {Role.ADMIN}
    assert set(ROLE_SCOPES) == set(Role)
