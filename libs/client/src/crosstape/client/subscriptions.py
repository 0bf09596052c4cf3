"""Subscriptions: which channels a stream follows, where it stands in each, and what that means for what comes. Pure.

The position in a channel is the offset of its newest message, and the epoch the offset belongs to. After a lost
connection the server is told every position: it sends what was missed, or says that it cannot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from crosstape.client.errors import PASSING, RateLimited, error_class, is_passing
from crosstape.client.events import Gap, Recovered, Refused, ReplayComplete, StreamEvent, Subscribed, Unsubscribed
from crosstape.client.frame import Frame, Head, decode, event_of, refusal

_NOT_REPLAYED = "VALIDATION_ERROR"
_AT_ONCE = 64
"""Channels of one message: of those beyond what a socket may have the server refuses each by its name, but a message
that names too many as a whole."""
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
        self._unanswered: Counter[str] = Counter()  # how often each was asked for and no answer was read
        self._postponed: set[str] = set()
        self._left: set[str] = set()  # and the server has not said so yet
        self._is_to_say_left = False
        self._to_replay: set[str] = set()
        self._replays: list[tuple[str, list[str]]] = []  # from when, and what is only followed by that

    def add(self, channels: Iterable[str], options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Follow these too: the messages that say so."""
        added = [self._canonical.get(channel, channel) for channel in channels]
        for channel in added:
            self._positions.setdefault(channel, _Position(options))
        self._left.difference_update(added)
        return self._requests(added)

    def replay(self, channels: Sequence[str], span: Mapping[str, Any]) -> dict[str, Any]:
        """Follow these from an earlier time on: the message that says so. What is followed already is not replayed."""
        self._to_replay.update(channels)
        names = [self._canonical.get(channel, channel) for channel in channels]
        new = [name for name in names if name not in self._positions]
        self._left.difference_update(new)
        for name in new:
            self._positions[name] = _Position({})
            self._positions[name].is_replaying = True
        self._replays.append((span["from"], new))
        return {"action": "subscribe", "channels": list(channels), **span}

    def remove(self, channels: Iterable[str]) -> list[dict[str, Any]]:
        """Do not follow these any more: the messages that say so."""
        removed = [self._canonical.get(channel, channel) for channel in channels]
        for channel in removed:
            self._positions.pop(channel, None)
        self._left.update(removed)
        return _messages("unsubscribe", removed)

    def opening(self) -> list[dict[str, Any]]:
        """What subscribes a new connection to everything, from where each channel stands."""
        self._postponed.clear()
        self._left.clear()
        self._is_to_say_left = False
        self._unanswered.clear()
        self._to_replay.clear()
        self._replays.clear()
        return self._requests(self._positions)

    def again(self) -> list[dict[str, Any]]:
        """What to ask once more, as it was refused for the moment only."""
        channels = [channel for channel in self._postponed if channel in self._positions]
        self._postponed.clear()
        left = list(self._left) if self._is_to_say_left else []
        self._is_to_say_left = False
        return self._requests(channels) + _messages("unsubscribe", left)

    def _requests(self, channels: Iterable[str]) -> list[dict[str, Any]]:
        names = list(dict.fromkeys(channels))
        self._unanswered.update(names)
        return _messages("subscribe", [_wish(name, self._positions[name]) for name in names])

    def read(self, frame: Frame) -> StreamEvent | None:
        """What `frame` tells; None for what was told already, or says nothing. Raises UnexpectedAnswer."""
        head = decode(frame, Head)
        if head.type == "error":
            return self._refused(refusal(head), head)
        if head.type == "subscribed":
            return self._subscribed(head)
        if head.type == "unsubscribed":
            return self._unsubscribed(head.channel or "")
        position = self._positions.get(head.channel or "")
        if position is None and head.channel is not None and not self._replays:
            return None  # it was left: whether anything lacks before it, or it comes again, is not known any more
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
        asked = head.asked or channel
        if head.asked is not None:
            self._rename(head.asked, channel)
        is_of_replay = not self._answered(channel)
        if head.already and asked in self._to_replay and is_of_replay:
            self._to_replay.remove(asked)
            message = f"{channel} is subscribed already: unsubscribe first to have it replayed."
            return Refused(error_code=_NOT_REPLAYED, message=message, channel=channel)
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

    def _unsubscribed(self, channel: str) -> Unsubscribed:
        """A channel that was only known by the name it was replayed under is forgotten now; one that is asked for anew
        begins anew."""
        self._left.discard(channel)
        position = self._positions.get(channel)
        if position is not None and not position.is_replaying:
            del self._positions[channel]
            if self._unanswered[channel] or channel in self._postponed:
                self._positions[channel] = _Position(position.options)
        return Unsubscribed(channel=channel)

    def _answered(self, channel: str) -> bool:
        """Whether a request was waiting for this answer; then it waits no more."""
        is_awaited = self._unanswered[channel] > 0
        self._unanswered[channel] -= is_awaited
        return is_awaited

    def _rename(self, asked: str, channel: str) -> None:
        self._canonical[asked] = channel
        if asked != channel:
            self._unanswered[channel] += self._unanswered.pop(asked, 0)
            if asked in self._left:
                self._left.remove(asked)
                self._left.add(channel)
        if (position := self._positions.pop(asked, None)) is not None:
            self._positions.setdefault(channel, position)

    def _refused(self, event: Refused, head: Head) -> Refused:
        """A channel that is refused for good is given up, and so is a replay. A message that was one too many says no
        channel."""
        if event.channel is None and head.replayed_from is not None:
            self._give_up_replay(head.replayed_from)
            return event
        if head.action == "unsubscribe":
            return self._refused_to_leave(event)
        if event.channel is None:
            lost = +self._unanswered if error_class(event.error_code) is RateLimited else Counter[str]()
            self._postponed.update(lost)
            self._unanswered -= lost
            return msgspec.structs.replace(event, will_retry=bool(lost))
        channel = self._canonical.get(event.channel, event.channel)
        is_awaited = self._answered(channel)
        position = self._positions.get(channel)
        is_replay = position is not None and position.is_replaying and not is_awaited
        will_retry = position is not None and not is_replay and is_passing(event.error_code)
        if will_retry:
            self._postponed.add(channel)
        elif not self._unanswered[channel]:
            self._positions.pop(channel, None)
        return msgspec.structs.replace(event, will_retry=will_retry)

    def _refused_to_leave(self, event: Refused) -> Refused:
        """What is refused for the moment is said again; a channel that is not there has been left."""
        name = self._canonical.get(event.channel or "", event.channel)
        if not issubclass(error_class(event.error_code), PASSING):
            self._left.discard(name or "")
            return event
        will_retry = bool(self._left) if name is None else name in self._left
        self._is_to_say_left |= will_retry
        return msgspec.structs.replace(event, will_retry=will_retry)

    def _give_up_replay(self, start: str) -> None:
        """The newest from `start` is refused: of two at once an earlier one may be running."""
        number = max((number for number, (begun, _) in enumerate(self._replays) if begun == start), default=None)
        if number is not None:
            for name in self._replays.pop(number)[1]:
                if not self._unanswered[name]:
                    self._positions.pop(name, None)

    def _replayed(self, event: ReplayComplete) -> None:
        """What was replayed goes on live, under the names the server gives."""
        replayed = [channel for channel, position in self._positions.items() if position.is_replaying]
        for channel in replayed:
            del self._positions[channel]
        self._to_replay.clear()
        self._replays.clear()
        for channel in event.channels:
            self._positions.setdefault(channel, _Position({})).epoch = event.epoch


def _messages(action: str, channels: Sequence[Any]) -> list[dict[str, Any]]:
    parts = [channels[first : first + _AT_ONCE] for first in range(0, len(channels), _AT_ONCE)]
    return [{"action": action, "channels": part} for part in parts]


def _wish(channel: str, position: _Position) -> dict[str, Any]:
    wish = {"channel": channel, **position.options}
    if position.epoch is not None and position.offset is not None:
        wish |= {"since": position.offset, "epoch": position.epoch}
    return wish
