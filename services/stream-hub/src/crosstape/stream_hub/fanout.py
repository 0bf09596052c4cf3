"""Fan-out: a message is encoded once for everybody who wants it alike, and everything one turn of the event loop has
for one socket is one write. Nobody is waited for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Protocol

from opentelemetry.trace import Span
from prometheus_client import Counter, Histogram

from crosstape.common.market.bar import NANOSECONDS
from crosstape.stream_hub.encoding import Build, Encoding

DELIVERED = Counter("crosstape_hub_messages_total", "Messages handed to subscribers' sockets")
DELIVERY_DELAY = Histogram(
    "crosstape_hub_delivery_delay_seconds",
    "From the receipt of a trade by the ingestor to its last subscriber's socket, of the oldest trade of each turn",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)


Write = Callable[[bytes], object]
"""Hands bytes to a socket without waiting; one that is too slow closes itself."""


class Member(Protocol):
    """A socket. `write_now` is its transport's own method, for members that have not left; `write` may come later."""

    @property
    def encoding(self) -> Encoding: ...
    @property
    def write_now(self) -> Write: ...
    def write(self, data: bytes, /) -> None: ...


class Outbox:
    """What is to be written at the end of this turn of the event loop."""

    def __init__(self) -> None:
        self._parts: dict[Member, list[bytes]] = {}
        self._groups: list[Group] = []
        self._is_waiting = False
        self._oldest: int | None = None
        self._spans: list[Span] = []

    def delivers(self, received: int) -> None:
        """Among what is to be written is a trade that the ingestor received at `received` (ns)."""
        if self._oldest is None or received < self._oldest:
            self._oldest = received

    def ends(self, span: Span) -> None:
        """End `span` when everything is written: now, if nothing is to be."""
        if self._is_waiting:
            self._spans.append(span)
        else:
            span.end()

    def send(self, member: Member, build: Build) -> None:
        """A message for one socket."""
        self.add(member, member.encoding.frame(build))
        DELIVERED.inc()

    def add(self, member: Member, data: bytes) -> None:
        """Encoded frames for one socket, behind everything that was added before."""
        parts = self._parts.get(member)
        if parts is None:
            self._parts[member] = [data]
            self._wake()
        else:
            parts.append(data)

    def waiting(self, member: Member) -> int:
        """Bytes that were added for one socket and are not written yet."""
        return sum(map(len, self._parts.get(member, ())))

    def touch(self, group: Group) -> None:
        """A group that has something pending."""
        self._groups.append(group)
        self._wake()

    def _wake(self) -> None:
        if not self._is_waiting:
            self._is_waiting = True
            asyncio.get_running_loop().call_soon(self.flush)

    def flush(self) -> None:
        """Write everything."""
        self._write()
        if self._oldest is not None:
            DELIVERY_DELAY.observe(max(0, time.time_ns() - self._oldest) / NANOSECONDS)
            self._oldest = None
        if self._spans:
            for span in self._spans:
                span.end()
            self._spans.clear()

    def _write(self) -> None:
        groups, self._groups = self._groups, []
        if len(groups) == 1 and not self._parts:
            self._is_waiting = False
            for data, writes in groups[0].take():
                for write in writes:
                    write(data)
            return
        for group in groups:
            group.flush()
        self._is_waiting = False
        parts, self._parts = self._parts, {}
        for member, frames in parts.items():
            member.write(frames[0] if len(frames) == 1 else b"".join(frames))


class _Part:
    """The members of one encoding, and the frames that are pending for them."""

    __slots__ = ("_writes", "frames", "members")

    def __init__(self) -> None:
        self.members: dict[Member, None] = {}
        self.frames: list[bytes] = []
        self._writes: tuple[Write, ...] | None = None

    def join(self, member: Member) -> None:
        """Frames are for `member` too."""
        self.members[member] = None
        self._writes = None

    def leave(self, member: Member) -> None:
        """Frames are no longer for `member`."""
        del self.members[member]
        self._writes = None

    def writes(self) -> tuple[Write, ...]:
        """How to write to each member. Made only when they have changed, and all at once, so that they lie side by side
        in memory: a thousand objects in a thousand places would cost a tenth of all sending."""
        if self._writes is None:
            self._writes = tuple([member.write_now for member in self.members])
        return self._writes

    def take(self) -> bytes:
        """The frames as one; then there are none."""
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames.clear()
        return data


class Group:
    """Everybody who gets the same messages. Joining and leaving are exact: a member gets what is published between.

    One that already has everything up to some position, perhaps from a replica that is ahead of this one, gets what
    lies behind it.
    """

    def __init__(self, outbox: Outbox):
        self._outbox = outbox
        self._parts: dict[Encoding, _Part] = {}
        self._ahead: dict[Member, int] = {}
        self._size = 0
        self._is_touched = False

    def __len__(self) -> int:
        """How many members there are."""
        return self._size + len(self._ahead)

    def join(self, member: Member, has: int | None = None) -> None:
        """Messages go to `member` from now on; if it `has` those up to a position, only those behind it."""
        if has is not None:
            self._ahead[member] = has
            return
        self.flush()
        part = self._parts.setdefault(member.encoding, _Part())
        part.join(member)
        self._size += 1

    def leave(self, member: Member) -> None:
        """No message any more."""
        if self._ahead.pop(member, None) is not None:
            return
        part = self._parts.get(member.encoding)
        if part is None or member not in part.members:
            return
        self.flush()
        part.leave(member)
        self._size -= 1
        if not part.members:
            del self._parts[member.encoding]

    def publish(self, build: Build, place: int = 0) -> None:
        """A message for all members; `place` is its position in the channel."""
        if self._ahead:
            for member in [member for member, has in self._ahead.items() if has < place]:
                del self._ahead[member]
                self.join(member)
        for encoding, part in self._parts.items():
            part.frames.append(encoding.frame(build))
            DELIVERED.inc(len(part.members))
        if not self._is_touched and self._size:
            self._is_touched = True
            self._outbox.touch(self)

    def take(self) -> Iterator[tuple[bytes, tuple[Write, ...]]]:
        """What is pending, joined, and how to write it; then nothing is pending any more."""
        self._is_touched = False
        for part in list(self._parts.values()):
            if data := part.take():
                yield data, part.writes()

    def flush(self) -> None:
        """Give the outbox what is pending, socket by socket."""
        self._is_touched = False
        for part in self._parts.values():
            if data := part.take():
                for member in part.members:
                    self._outbox.add(member, data)
