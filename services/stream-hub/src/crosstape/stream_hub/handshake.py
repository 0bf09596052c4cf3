"""The upgrade request: which stream is asked for, in what encoding, and what the client shows to be let in. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote

from msgspec import Struct
from multidict import CIMultiDict

from crosstape.common.errors import NotFound, ValidationFailed
from crosstape.common.web.request_context import valid_request_id
from crosstape.stream_hub.encoding import NOTATIONS, PACKED, Encoding

BEARER = "bearer"
DEFLATE = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
MOST_PARAMETERS = 20

Headers = CIMultiDict[str]


class Hello(Struct, frozen=True):
    """What an upgrade request asks for.

    `path` has no query, `query` no token. `credential` is the client's own, `identity` what the gateway says of it.
    `request_id` names the socket in the logs: the gateway's X-Request-ID, or a new one. `subprotocol` and `extension`
    are what the answer accepts, empty for none.
    """

    path: tuple[str, ...]
    query: Mapping[str, str]
    credential: str
    identity: str
    request_id: str
    encoding: Encoding
    subprotocol: str
    extension: str


def read_hello(target: bytes, headers: Headers) -> Hello:
    """The request's meaning. Raises NotFound, ValidationFailed."""
    path, _, query_text = target.decode("latin-1").partition("?")
    try:
        query = dict(parse_qsl(query_text, keep_blank_values=True, max_num_fields=MOST_PARAMETERS))
    except ValueError as error:
        raise ValidationFailed(f"A stream takes at most {MOST_PARAMETERS} query parameters.") from error
    token = query.pop("token", "")
    offered = [word.strip() for word in headers.get("Sec-WebSocket-Protocol", "").split(",")]
    shown = offered[1] if len(offered) == 2 and offered[0].lower() == BEARER else ""
    extension = DEFLATE if _offers_deflate(headers) else ""
    return Hello(
        path=_route(path),
        query=query,
        credential=_bearer(headers.get("Authorization", "")) or shown or token,
        identity=headers.get("X-Crosstape-Identity", ""),
        request_id=valid_request_id(headers.get("X-Request-ID", "").encode("utf-8", "replace"))
        or secrets.token_hex(16),
        encoding=_encoding(query, is_deflated=bool(extension)),
        subprotocol=offered[0] if shown else "",
        extension=extension,
    )


def _route(path: str) -> tuple[str, ...]:
    """`/ws/v1/cvd/okx/BTC-USDT` -> ("cvd", "okx", "BTC-USDT"). A symbol may hold slashes (`XBT/USD`)."""
    if path == "/ws":
        return ("books",)
    if path == "/ws/v1/stream":
        return ("stream",)
    if path.startswith("/ws/v1/cvd/"):
        exchange, _, symbol = path.removeprefix("/ws/v1/cvd/").partition("/")
        if exchange and symbol:
            return ("cvd", unquote(exchange), unquote(symbol))
    raise NotFound("No such stream. There are: /ws, /ws/v1/cvd/{exchange}/{symbol} and /ws/v1/stream.")


def _bearer(authorization: str) -> str:
    scheme, _, credential = authorization.partition(" ")
    return credential.strip() if scheme.lower() == BEARER else ""


def _encoding(query: Mapping[str, str], *, is_deflated: bool) -> Encoding:
    form, numbers = query.get("format", "json"), query.get("numbers", "number")
    if form not in ("json", "msgpack"):
        raise ValidationFailed("format must be json or msgpack.", {"parameter": "format"})
    if numbers not in NOTATIONS:
        raise ValidationFailed("numbers must be number or string.", {"parameter": "numbers"})
    if form == "msgpack":
        return Encoding(PACKED, is_deflated)
    return Encoding(NOTATIONS[numbers], is_deflated)


def _offers_deflate(headers: Headers) -> bool:
    """Whether the client can take messages that share no window, which is all that can be sent to everybody alike."""
    offers = ",".join(headers.getall("Sec-WebSocket-Extensions", [])).split(",")
    return any(_is_acceptable([part.strip().lower() for part in offer.split(";")]) for offer in offers)


def _is_acceptable(offer: list[str]) -> bool:
    """A client that insists on a smaller window of ours is not served deflated."""
    return offer[0] == "permessage-deflate" and not any(part.startswith("server_max_window_bits") for part in offer)
