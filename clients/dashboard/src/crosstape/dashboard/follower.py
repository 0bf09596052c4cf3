"""A thread that follows one feed of the SDK until it is closed, and how its connection is meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from crosstape.client import (
    BlockingFeed,
    ConnectionFailed,
    CrosstapeError,
    Disconnected,
    Forbidden,
    Refused,
    StreamClosed,
    Unauthenticated,
)
from crosstape.client.errors import PASSING
from crosstape.dashboard.words import sentence

E = TypeVar("E")
FeedT = TypeVar("FeedT", bound="BlockingFeed[object]")

PAUSES = (0.5, 1.0, 2.0, 5.0)
"""Seconds until a feed that could not be opened, or told nothing, is tried again; the last one for ever."""

AWAY = "The platform cannot be reached; it is tried again by itself."

_TOKEN_ENDED = 4401


@dataclass(frozen=True, slots=True)
class Link:
    """How a feed is: `disconnected` comes back by itself, `refused` and `signed_out` do not. `reason` is a sentence."""

    state: Literal["loading", "live", "disconnected", "refused", "signed_out"]
    reason: str = ""


class Follower(Generic[E]):
    """Opens a feed, gives each of its events to `take` in this thread, and says by `link` how it is.

    `open_feed` returns a feed that is opened by `with`; `prepare` is told the opened one (to subscribe).
    """

    def __init__(
        self,
        name: str,
        open_feed: Callable[[], BlockingFeed[E]],
        take: Callable[[E | Refused], None],
        prepare: Callable[[], None] = lambda: None,
    ) -> None:
        self.link = Link("loading")
        self._open_feed = open_feed
        self._take = take
        self._prepare = prepare
        self._closing = threading.Event()
        self._failures = 0
        self._lock = threading.Lock()
        self._feed: BlockingFeed[E] | None = None
        self._thread = threading.Thread(target=self._run, name=f"crosstape-{name}", daemon=True)

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """End the thread and the connection."""
        self._closing.set()
        with self._lock:
            if self._feed is not None:
                self._feed.close()

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._follow()
            except (Unauthenticated, Forbidden) as error:
                self.link = Link("signed_out" if isinstance(error, Unauthenticated) else "refused", sentence(error))
                return
            except StreamClosed as error:
                self.link = Link("signed_out" if error.code == _TOKEN_ENDED else "refused", sentence(error))
                return
            except PASSING as error:
                self.link = Link("disconnected", AWAY if isinstance(error, ConnectionFailed) else sentence(error))
                self._closing.wait(PAUSES[min(self._failures, len(PAUSES) - 1)])
                self._failures += 1
            except CrosstapeError as error:
                self.link = Link("refused", sentence(error))
                return

    def _follow(self) -> None:
        feed = self._open_feed()
        with feed:
            with self._lock:
                self._feed = feed
            if self._closing.is_set():
                return
            self._prepare()
            for event in feed:
                if isinstance(event, Disconnected):
                    self.link = Link("disconnected", "The connection to the platform is lost; it is being made again.")
                    continue
                self._take(event)
                self._failures = 0
                self.link = Link("live")
