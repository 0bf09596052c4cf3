"""Health: what a process depends on, whether each is well, and therefore whether it may be sent work."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from crosstape.common.errors import DatabaseError
from crosstape.common.waiting import pause

PING_SECONDS = 2.0


class Check(Struct, frozen=True):
    """State of one dependency or part; `detail` is shown to operators and must hold no secret."""

    is_up: bool
    detail: dict[str, Any] = {}


class Health:
    """Named checks. A process is ready when none that it `needs` is down; a check that never reported is down.

    Once `stopping` is set the process drains and is not ready, so that nobody sends it new work.
    """

    def __init__(self, needs: tuple[str, ...] = (), *, stopping: asyncio.Event | None = None):
        self._needs = needs
        self._stopping = stopping
        self._probes: dict[str, Callable[[], Check]] = {}

    def watch(self, name: str, probe: Callable[[], Check]) -> None:
        """Ask `probe` whenever somebody asks us; it must answer at once, from memory."""
        self._probes[name] = probe

    def checks(self) -> dict[str, Check]:
        """The state of everything that is watched or needed."""
        found = {name: probe() for name, probe in self._probes.items()}
        return {name: Check(is_up=False, detail={"reason": "starting"}) for name in self._needs} | found

    @property
    def is_ready(self) -> bool:
        return self.readiness()[0]

    def readiness(self) -> tuple[bool, dict[str, Check]]:
        """Whether the process may be sent work, and the checks that say so."""
        checks = self.checks()
        draining = self._stopping is not None and self._stopping.is_set()
        return not draining and all(checks[name].is_up for name in self._needs), checks

    async def watch_database(self, ping: Callable[[], Awaitable[float]], stop: asyncio.Event) -> None:
        """Keep the check `database` by asking `ping` every two seconds until `stop`; its answer is in milliseconds."""
        state = Check(is_up=True)
        self.watch("database", lambda: state)
        while not stop.is_set():
            try:
                state = Check(is_up=True, detail={"response_time_ms": round(await ping(), 2)})
            except DatabaseError as error:
                state = Check(is_up=False, detail={"reason": error.error_code})
            await pause(stop, PING_SECONDS)
