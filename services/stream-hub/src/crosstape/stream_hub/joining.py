"""How a client joins a channel of /ws/v1/stream where it left off: what every kind of channel has in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from msgspec import Struct

from crosstape.stream_hub.connection import Connection
from crosstape.stream_hub.encoding import Build
from crosstape.stream_hub.fanout import Group
from crosstape.stream_hub.history import History
from crosstape.stream_hub.reading import has_read, too_slow
from crosstape.stream_hub.replay_sources import Source
from crosstape.stream_hub.ring import Ring
from crosstape.stream_hub.span import Span

AT_ONCE = 500
"""Missed messages that are sent before the client is looked at again."""

Entry = TypeVar("Entry")


class Request(Struct, frozen=True):
    """How a client wants to join. `since` is the last offset it has, `epoch` that offset's; `described` is what the
    answer says of the channel besides."""

    since: int | str | None
    epoch: str
    described: Mapping[str, Any]

    def place(self, epoch: str) -> int | None:
        """The position up to which the client has everything, if it is one of `epoch`."""
        if isinstance(self.since, int) and not isinstance(self.since, bool) and self.epoch == epoch:
            return self.since
        return None


def subscribed(channel: str, request: Request, epoch: str, offset: int | str | None, *, is_recovered: bool) -> Build:
    """The answer. Its offset is what the client has then: what it missed follows behind it."""
    recovered = {} if request.since is None else {"recovered": is_recovered}
    message = {
        "type": "subscribed",
        "channel": channel,
        **request.described,
        "epoch": epoch,
        "offset": offset,
        **recovered,
    }
    return lambda notation: message


class Subscription(ABC):
    """One client's part in one channel: it joins, or is replayed and then goes live; then it leaves.

    What is shared and only there while somebody has joined it is found in the very step that joins it: while a client
    waits, the last of the others may leave.
    """

    has_left = False

    @abstractmethod
    async def join(self, member: Connection, request: Request, epoch: str) -> None:
        """Answer, give what was missed, and go on with what comes. Raises Closing, ServiceUnavailable."""

    def leave(self, member: Connection) -> None:
        """No message any more, not even of a replay."""
        self.has_left = True
        self._leave(member)

    @abstractmethod
    def _leave(self, member: Connection) -> None:
        """Leave what was joined, if anything was."""

    async def sources(self, start: int, history: History) -> Sequence[Source]:
        """What a replay from `start` (ns) on sends; none where there is no history. Raises ServiceUnavailable."""
        return ()

    @abstractmethod
    async def go_live(self, member: Connection, span: Span) -> None:
        """Join behind a replay of `span`, unless the client leaves meanwhile. If the span has no end: first what the
        bus brought that history did not have yet. Raises Closing, ServiceUnavailable."""


class RingSubscription(Subscription, Generic[Entry]):
    """A channel whose last messages are in a ring. `find` gives that and the group."""

    def __init__(self, channel: str, find: Callable[[], tuple[Ring[Entry], Group]]):
        self._channel = channel
        self._find = find
        self._is_new: Callable[[Entry], bool] | None = None  # of a replay: whether it has not sent that

    @abstractmethod
    def _build(self, place: int, entry: Entry) -> Build | None:
        """The message of an entry; None for one of another channel."""

    async def join(self, member: Connection, request: Request, epoch: str) -> None:
        has, (ring, _) = request.place(epoch), self._find()
        if has is not None and not ring.reaches(has):
            has = None
        place = ring.newest if has is None else has
        member.send(subscribed(self._channel, request, epoch, place, is_recovered=has is not None))
        await self._follow(member, place)

    async def go_live(self, member: Connection, span: Span) -> None:
        ring, _ = self._find()
        await self._follow(member, ring.floor if span.end is None else ring.newest)
        self._is_new = None

    async def _follow(self, member: Connection, place: int) -> None:
        """Send what lies behind `place`, and go on with what comes. Raises Closing."""
        while not self.has_left:
            ring, group = self._find()
            missed = ring.after(place, AT_ONCE)
            if missed is None:
                raise too_slow()
            for at, entry in missed:
                is_new = self._is_new is None or self._is_new(entry)
                if is_new and (build := self._build(at, entry)) is not None:
                    member.send(build)
            if len(missed) < AT_ONCE:
                group.join(member, place if place > ring.newest else None)
                return
            place = missed[-1][0]
            await has_read(member)

    def _leave(self, member: Connection) -> None:
        _, group = self._find()
        group.leave(member)
