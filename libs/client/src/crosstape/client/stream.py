"""The stream: many channels on one socket, /ws/v1/stream, each message once and in order over lost connections."""

from __future__ import annotations

from crosstape.client.events import StreamEvent
from crosstape.client.feed import Feed
from crosstape.client.subscriptions import Subscriptions
from crosstape.client.times import Time, time_text
from crosstape.client.transport import Transport


class AsyncStream(Feed[StreamEvent]):
    """Subscribe and iterate. Channels are `trades:EXCHANGE:SYMBOL`, `bars:EXCHANGE:SYMBOL:INTERVAL`,
    `book:EXCHANGE:SYMBOL` and `orders`; exchange `*` is all of them.

    After a lost connection every channel goes on where it was (`Recovered`), or says that it could not (`Gap`).
    """

    def __init__(self, transport: Transport, *, packed: bool):
        self._subscriptions = Subscriptions()
        super().__init__(transport, "/ws/v1/stream", self._subscriptions, packed=packed)

    async def subscribe(self, *channels: str, depth: int | None = None, interval_ms: int | None = None) -> None:
        """Follow these channels too. What the server refuses comes as `Refused`.

        `depth` and `interval_ms` are of books: the best levels a side, and the shortest time between two states. A book
        that is followed already keeps what it has: unsubscribe first to have it otherwise.
        """
        options = {"depth": depth, "interval_ms": interval_ms}
        given = {name: value for name, value in options.items() if value is not None}
        for message in self._subscriptions.add(channels, given):
            await self.send(message)

    async def replay(self, *channels: str, start: Time, end: Time | None = None, speed: float = 1.0) -> None:
        """Tell what happened from `start` on, `speed` times as fast; then `ReplayComplete`, then what happens now.

        A channel that is followed already is not replayed (`Refused`).
        """
        span = {"from": time_text(start), "speed": speed}
        if end is not None:
            span["to"] = time_text(end)
        await self.send(self._subscriptions.replay(channels, span))

    async def unsubscribe(self, *channels: str) -> None:
        """Do not follow these channels any more; what is buffered of them still comes."""
        for message in self._subscriptions.remove(channels):
            await self.send(message)
