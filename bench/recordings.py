"""Real frames that lie beside the repository (`CROSSTAPE_RECORDINGS`, else ../shared/recordings), never in it."""

from __future__ import annotations

import gzip
import os
from functools import cache
from pathlib import Path

import msgspec

from bench.measure import Skip

FOLDER = Path(os.environ.get("CROSSTAPE_RECORDINGS") or Path(__file__).resolve().parents[2] / "shared" / "recordings")


class Line(msgspec.Struct):
    """One line of a recording; `src` is the URL."""

    dir: str
    src: str
    frame: str = ""


@cache
def lines(name: str) -> list[Line]:
    """Every line of a recording. Raises Skip where there is none."""
    path = FOLDER / f"{name}.jsonl.gz"
    if not path.exists():
        raise Skip(f"needs the recording {name} (CROSSTAPE_RECORDINGS, else ../shared/recordings)")
    with gzip.open(path) as file:
        return msgspec.json.decode(b"[" + b",".join(file.read().splitlines()) + b"]", type=list[Line])


def frames(name: str, *parts: str, url: str = "") -> list[str]:
    """The frames that the exchange sent (from a socket whose address ends with `url`) and that hold all of `parts`."""
    return [
        line.frame
        for line in lines(name)
        if line.dir == "in" and line.src.endswith(url) and all(part in line.frame for part in parts)
    ]
