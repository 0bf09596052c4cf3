"""One connection to Redis for one command at a time, by bare protocol callbacks.

redis-py's own way to send a command and read its reply takes longer than all else that a limit costs.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence

from redis.asyncio.connection import SSLConnection, parse_url

OnReply = Callable[[bytes], None]


class RedisPipe(asyncio.Protocol):
    """`lost` is done when the connection is; a reply that is an error, or none, ends it."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._on_reply: OnReply | None = None
        self._received = b""

    def send(self, words: Sequence[bytes], on_reply: OnReply) -> None:
        """`on_reply` gets what the command answered: a simple string, an integer or a bulk string."""
        self._on_reply = on_reply
        lines = [b"$%d\r\n%b\r\n" % (len(word), word) for word in words]
        self._transport.write(b"*%d\r\n%b" % (len(words), b"".join(lines)))

    async def ask(self, *words: bytes) -> bytes:
        """The same, to be awaited. Raises ConnectionError when there is no reply."""
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.send(words, reply.set_result)
        await asyncio.wait((reply, self.lost), return_when=asyncio.FIRST_COMPLETED)
        if not reply.done():
            raise ConnectionError(f"{words[0].decode()} was not answered")
        return reply.result()

    def close(self) -> None:
        """End it at once."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, is_there, rest = self._received.partition(b"\r\n")
        if not is_there:
            return
        reply = head[1:]
        if head.startswith(b"$"):
            length = int(reply)
            if len(rest) < length + 2:
                return
            reply, rest = rest[:length], rest[length + 2 :]
        on_reply, self._on_reply, self._received = self._on_reply, None, b""
        if head.startswith((b"-", b"$-")) or rest or on_reply is None:
            self._transport.abort()
        else:
            on_reply(reply)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.lost.done():  # who waited for it may have been cancelled, and the future with them
            self.lost.set_result(None)


async def open_pipe(url: str) -> RedisPipe:
    """A connection to the database of a `redis://` or `rediss://` URL. Raises OSError."""
    options = parse_url(url)
    tls = ssl.create_default_context() if options.get("connection_class") is SSLConnection else None
    loop = asyncio.get_running_loop()
    host, port = options.get("host", "localhost"), options.get("port", 6379)
    _, pipe = await loop.create_connection(RedisPipe, host, port, ssl=tls)
    try:
        if password := options.get("password"):
            user = [options["username"].encode()] if options.get("username") else []
            await pipe.ask(b"AUTH", *user, password.encode())
        if database := options.get("db"):
            await pipe.ask(b"SELECT", b"%d" % database)
    except BaseException:
        pipe.close()
        raise
    return pipe
