"""Where frames go: a pipe, as plain text one after the other, or a terminal, in place."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from crosstape.orderbook.drawing import LINE_WIDTH, LINES_AROUND


class Pipe:
    """Plain text, an empty line after each frame."""

    width = LINE_WIDTH

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Every frame was flushed."""

    def rows(self, depth: int) -> int:
        return depth

    def show(self, table: Sequence[str], status: str) -> None:
        sys.stdout.write("\n".join([*table, status, "", ""]))
        sys.stdout.flush()


class Terminal:
    """The alternate screen; what was there before is back at the end, also after Ctrl-C."""

    def __init__(self, console: Console):
        self._console = console
        self._live = Live(console=console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    @property
    def width(self) -> int:
        return self._console.width

    def rows(self, depth: int) -> int:
        return max(1, min(depth, self._console.height - LINES_AROUND))

    def show(self, table: Sequence[str], status: str) -> None:
        text = Text("\n".join(table), no_wrap=True)
        text.append(f"\n{status}", style="bold")
        self._live.update(text, refresh=True)
