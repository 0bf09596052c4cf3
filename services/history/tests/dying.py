"""Run history, and kill -9 it at one moment: `python dying.py commit|before_bars|after_bars|never`."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from crosstape.common.bus.consumer import Consumer
from crosstape.history.main import main
from crosstape.history.store import Store


def die(*args: Any) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def arrange(moment: str) -> None:
    insert = Store.insert
    if moment == "commit":
        Consumer.commit = die  # type: ignore[method-assign]

    async def deadly(store: Store, table: str, rows: Any) -> None:
        if table == "bars" and moment == "before_bars":
            die()
        await insert(store, table, rows)
        if table == "bars" and moment == "after_bars":
            die()

    Store.insert = deadly  # type: ignore[method-assign]


if __name__ == "__main__":
    arrange(sys.argv[1])
    main()
