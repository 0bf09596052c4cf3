"""One connection to Redis for one command at a time, by bare protocol callbacks.

redis-py's own way to send a command and read its reply takes longer than all else that a limit costs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from redis.asyncio.connection import parse_url

from crosstape.common.redis_url import redis_tls

OnReply = Callable[[bytes], None]


class RedisPipe(asyncio.Protocol):
    """`lost` is done when the connection is; a reply that is an error, or none, ends it. `refusal` is that error."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.refusal = ""
        self._on_reply: OnReply | None = None
        self._received = b""

    def send(self, command: bytes, on_reply: OnReply) -> None:
        """`on_reply` gets what the command answered: a simple string, an integer or a bulk string."""
        self._on_reply = on_reply
        self._transport.write(command)

    async def ask(self, *words: bytes) -> bytes:
        """The same, to be awaited. Raises ConnectionError with the refusal when there is no reply."""
        reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.send(b"*%d\r\n%b" % (len(words), encoded(*words)), reply.set_result)
        await asyncio.wait((reply, self.lost), return_when=asyncio.FIRST_COMPLETED)
        if not reply.done():
            raise ConnectionError(self.refusal or f"{words[0].decode()} was not answered")
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
        if head.startswith((b"-", b"$-")):
            # A command that is not known is told with its arguments, a password for example.
            self.refusal = reply.decode(errors="replace").partition(", with args")[0]
            self._transport.abort()
            return
        if head.startswith(b"$"):
            length = int(reply)
            if len(rest) < length + 2:
                return
            reply, rest = rest[:length], rest[length + 2 :]
        on_reply, self._on_reply, self._received = self._on_reply, None, b""
        if rest or on_reply is None:
            self._transport.abort()
        else:
            on_reply(reply)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.lost.done():  # who waited for it may have been cancelled, and the future with them
            self.lost.set_result(None)


def encoded(*words: bytes) -> bytes:
    """Words of a command, which `*` and their number go before."""
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in words])


async def open_pipe(url: str) -> RedisPipe:
    """A connection to the database of a `redis://` or `rediss://` URL. Raises OSError."""
    options = parse_url(url)
    tls = await asyncio.to_thread(redis_tls, url)  # reads hundreds of authorities, and is asked for at every try
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
