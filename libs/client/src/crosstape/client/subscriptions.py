"""Subscriptions: which channels a stream follows, where it stands in each, and what that means for what comes. Pure.

The position in a channel is the offset of its newest message, and the epoch the offset belongs to. After a lost
connection the server is told every position: it sends what was missed, or says that it cannot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from crosstape.client.errors import RateLimited, error_class, is_passing
from crosstape.client.events import Gap, Recovered, Refused, ReplayComplete, StreamEvent, Subscribed, Unsubscribed
from crosstape.client.frame import Frame, Head, decode, event_of, refusal

_BOOKS = "book:"
"""Of these only the newest state is ever sent: nothing of them can be missed, or come twice."""


class _Position:
    """`epoch` is None until the server answered. `newest` is the newest message, None where the server said the offset.
    `options` go with every request for the channel.
    """

    __slots__ = ("epoch", "is_replaying", "newest", "offset", "options")

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.options = options
        self.epoch: str | None = None
        self.offset: int | str | None = None
        self.newest: Frame | None = None
        self.is_replaying = False

    def has(self, head: Head, frame: Frame) -> bool:
        """Whether a message was told before. Two messages may share an offset; offsets that are text have no order."""
        if not isinstance(head.offset, int) or not isinstance(self.offset, int) or head.type == "book":
            return False
        return head.offset < self.offset or (head.offset == self.offset and self.newest in (None, frame))


class Subscriptions:
    """What one stream is subscribed to, over all its connections. Channels are known by their canonical names once the
    server told them, and by what was asked for until then."""

    def __init__(self) -> None:
        self._positions: dict[str, _Position] = {}
        self._canonical: dict[str, str] = {}
        self._unanswered: set[str] = set()
        self._postponed: set[str] = set()

    def add(self, channels: Iterable[str], options: Mapping[str, Any]) -> dict[str, Any]:
        """Follow these too: the message that says so."""
        added = [self._canonical.get(channel, channel) for channel in channels]
        for channel in added:
            self._positions.setdefault(channel, _Position(options))
        return self._request(added)

    def replay(self, channels: Sequence[str], span: Mapping[str, Any]) -> dict[str, Any]:
        """Follow these from an earlier time on: the message that says so."""
        for channel in channels:
            self._positions.setdefault(channel, _Position({})).is_replaying = True
        return {"action": "subscribe", "channels": list(channels), **span}

    def remove(self, channels: Iterable[str]) -> dict[str, Any]:
        """Do not follow these any more: the message that says so."""
        removed = [self._canonical.get(channel, channel) for channel in channels]
        for channel in removed:
            self._positions.pop(channel, None)
        return {"action": "unsubscribe", "channels": removed}

    def opening(self) -> list[dict[str, Any]]:
        """What subscribes a new connection to everything, from where each channel stands."""
        self._postponed.clear()
        self._unanswered.clear()
        return [self._request(self._positions)] if self._positions else []

    def again(self) -> list[dict[str, Any]]:
        """What to ask once more, as it was refused for the moment only."""
        channels = [channel for channel in self._postponed if channel in self._positions]
        self._postponed.clear()
        return [self._request(channels)] if channels else []

    def _request(self, channels: Iterable[str]) -> dict[str, Any]:
        wishes = {channel: _wish(channel, self._positions[channel]) for channel in channels}
        self._unanswered.update(wishes)
        return {"action": "subscribe", "channels": list(wishes.values())}

    def read(self, frame: Frame) -> StreamEvent | None:
        """What `frame` tells; None for what was told already, or says nothing. Raises UnexpectedAnswer."""
        head = decode(frame, Head)
        if head.type == "error":
            return self._refused(refusal(head))
        if head.type == "subscribed":
            return self._subscribed(head)
        if head.type == "unsubscribed":
            return Unsubscribed(channel=head.channel or "")
        position = self._positions.get(head.channel or "")
        if position is not None and position.has(head, frame):
            return None
        event = event_of(head.type, frame)
        if isinstance(event, ReplayComplete):
            self._replayed(event)
        elif position is not None and head.offset is not None:
            position.offset, position.newest = head.offset, frame
        return event

    def _subscribed(self, head: Head) -> StreamEvent | None:
        channel = head.channel or ""
        if head.asked is not None:
            self._rename(head.asked, channel)
        self._unanswered.discard(channel)
        position = self._positions.get(channel)
        if position is None or head.epoch is None:
            return None
        is_new, had = position.epoch is None and not position.is_replaying, position.offset
        position.newest = None
        if not is_new and head.recovered:
            return Recovered(channel=channel)
        position.epoch, position.offset, position.is_replaying = head.epoch, head.offset, False
        if is_new or channel.startswith(_BOOKS):
            return Subscribed(channel=channel)
        return Gap(channel=channel, after=had)

    def _rename(self, asked: str, channel: str) -> None:
        self._canonical[asked] = channel
        self._unanswered.discard(asked)
        if (position := self._positions.pop(asked, None)) is not None:
            self._positions.setdefault(channel, position)

    def _refused(self, event: Refused) -> Refused:
        """A channel that is refused for good is given up. A message that was one too many says no channel."""
        if event.channel is None:
            is_lost = error_class(event.error_code) is RateLimited and bool(self._unanswered)
            self._postponed |= self._unanswered if is_lost else set()
            return msgspec.structs.replace(event, will_retry=is_lost)
        channel = self._canonical.get(event.channel, event.channel)
        self._unanswered.discard(channel)
        will_retry = channel in self._positions and is_passing(event.error_code)
        if will_retry:
            self._postponed.add(channel)
        else:
            self._positions.pop(channel, None)
        return msgspec.structs.replace(event, will_retry=will_retry)

    def _replayed(self, event: ReplayComplete) -> None:
        """What was replayed goes on live, under the names the server gives."""
        replayed = [channel for channel, position in self._positions.items() if position.is_replaying]
        for channel in replayed:
            del self._positions[channel]
        for channel in event.channels:
            self._positions.setdefault(channel, _Position({})).epoch = event.epoch


def _wish(channel: str, position: _Position) -> dict[str, Any]:
    wish = {"channel": channel, **position.options}
    if position.epoch is not None and position.offset is not None:
        wish |= {"since": position.offset, "epoch": position.epoch}
    return wish
