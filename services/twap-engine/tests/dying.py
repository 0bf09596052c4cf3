"""Two replicas on one database, one of which is killed again and again: `python dying.py DATABASE SEED KILLS SECONDS`.

Each is a fork of this process, so that it lives within milliseconds of its start. Prints how many were killed while
orders were open. Books are the same for ever: one snapshot, told anew every few milliseconds.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
import time
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

import twap_world
from twap_world import ALPHA, ASKS_OF_THE_DYING, Replica, snapshot

from crosstape.twap_engine.clock import Clock

LEASE_SECONDS = 0.3
LONGEST_LIFE = 0.21
"""At most this long from kill to kill; less where the machine is slow and the orders would end before all kills."""


async def live(url: str) -> None:
    """Work on orders until killed."""
    twap_world.LEASE = LEASE_SECONDS
    replica = Replica(url, Clock())

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


def fork(url: str) -> int:
    """A replica's process."""
    pid = os.fork()
    if pid == 0:
        try:
            asyncio.run(live(url))
        finally:
            os._exit(1)
    return pid


def count_open(path: str) -> int:
    with sqlite3.connect(path, timeout=10) as connection:
        return int(connection.execute("SELECT count(*) FROM orders WHERE status = 'open'").fetchone()[0])


def main(path: str, seed: int, kills: int, seconds: float) -> None:
    chance = random.Random(seed)
    living = [fork(f"sqlite:///{path}") for _ in range(2)]
    killed, end = 0, time.monotonic() + seconds
    while count_open(path):
        longest = 2 * max(0.0, end - time.monotonic()) / max(1, kills - killed)
        time.sleep(chance.uniform(0.0, min(longest, LONGEST_LIFE)))
        if killed < kills:
            victim = chance.randrange(2)
            os.kill(living[victim], signal.SIGKILL)
            _, status = os.waitpid(living[victim], 0)
            if os.WIFSIGNALED(status):
                killed += 1
            living[victim] = fork(f"sqlite:///{path}")
    for pid in living:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    print(killed)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
