"""Two replicas on one database, one of which is killed again and again: `python dying.py URL SEED KILLS SECONDS`.

Each is a fork of this process, so that it lives within milliseconds of its start. Prints how many were killed while
orders were open. Books are the same for ever: one snapshot, told anew every few milliseconds. Time begins with START,
and passes more slowly where the machine is slow.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from ctypes import c_int64
from multiprocessing.sharedctypes import RawValue
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

import twap_world
from sqlalchemy import func, select
from twap_world import ALPHA, ASKS_OF_THE_DYING, START, Replica, snapshot

from crosstape.common.market.bar import NANOSECONDS
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.store.database import Database
from crosstape.twap_engine.store.tables import orders

LEASE_SECONDS = 0.3
LONGEST_LIFE = 0.21
"""At most this long from kill to kill; less where the orders would end before all kills."""
CHANGES = 0.2
"""How often it is the other one's turn to be killed: who lives must live for longer than a lease to take over."""
LONGEST_STEP_NS = NANOSECONDS // 100


class World(Clock):
    """A clock that all forks share. It goes on while somebody lets time `pass_by`."""

    def __init__(self) -> None:
        self._now = RawValue(c_int64, 0)

    def utc(self) -> int:
        return START + self.steady()

    def steady(self) -> int:
        return self._now.value

    def pass_by(self, seconds: float) -> None:
        """As long as that, or longer where this process is seldom on: then the replicas are, too."""
        until, before = self.steady() + int(seconds * NANOSECONDS), time.monotonic_ns()
        while self.steady() < until:
            time.sleep(0.005)
            now = time.monotonic_ns()
            self._now.value += min(now - before, LONGEST_STEP_NS)
            before = now


async def live(url: str, clock: Clock) -> None:
    """Work on orders until killed."""
    twap_world.LEASE = LEASE_SECONDS
    replica = Replica(url, clock)

    async def see() -> None:
        while True:
            replica.see(snapshot(ALPHA, [("99", "1")], ASKS_OF_THE_DYING, time.time_ns()))
            await asyncio.sleep(0.005)

    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(see())
        await asyncio.sleep(0.01)
        group.create_task(replica.life.run(stop))
        group.create_task(replica.engine.run(stop))


def fork(url: str, clock: Clock) -> int:
    """A replica's process."""
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(live(url, clock))
        finally:
            os._exit(1)
    return pid


async def count_open(url: str) -> int:
    """In a loop and over a connection of its own, so that no fork inherits any."""
    database = Database(url)
    async with database.reading() as connection:
        count = await connection.scalar(select(func.count()).select_from(orders).where(orders.c.status == "open"))
    await database.close()
    return int(count or 0)


def main(url: str, seed: int, kills: int, seconds: float) -> None:
    chance, clock = random.Random(seed), World()
    living = [fork(url, clock) for _ in range(2)]
    killed, victim = 0, 0
    while killed < kills and (left := seconds - clock.steady() / NANOSECONDS) > 0:
        clock.pass_by(chance.uniform(0.0, min(2 * left / (kills - killed), LONGEST_LIFE)))
        victim ^= chance.random() < CHANGES
        os.kill(living[victim], signal.SIGKILL)
        _, status = os.waitpid(living[victim], 0)
        if os.WIFSIGNALED(status):
            killed += 1
        living[victim] = fork(url, clock)
    while asyncio.run(count_open(url)):
        clock.pass_by(0.1)
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    print(killed)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
