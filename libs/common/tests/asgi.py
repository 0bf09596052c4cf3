"""One request to an ASGI application, without a socket."""

from typing import Any

import msgspec
from starlette.types import ASGIApp, Message


class Answer(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body, strict=True)


async def request(
    app: ASGIApp, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None, query: bytes = b""
) -> Answer:
    """The application's answer; what it raises after answering (Starlette raises to the server) is dropped."""
    messages: list[Message] = []
    incoming: list[Message] = [{"type": "http.request", "body": body, "more_body": False}, {"type": "http.disconnect"}]

    async def receive() -> Message:
        return incoming.pop(0) if len(incoming) > 1 else incoming[0]

    async def send(message: Message) -> None:
        messages.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "query_string": query,
        "root_path": "",
        "headers": [(n.lower().encode(), v.encode("latin-1")) for n, v in (headers or {}).items()],
        "client": ("127.0.0.1", 1),
        "server": ("secret-host.internal", 80),
    }
    try:
        await app(scope, receive, send)
    except Exception:
        if not messages:
            raise
    start, *rest = messages
    return Answer(
        start["status"],
        {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]},
        b"".join(message.get("body", b"") for message in rest),
    )
