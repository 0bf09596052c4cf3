"""(F) Bus to subscribers: one hub on one core, its subscribers (a C program) on the other.

Every contender sends the very same messages (the hub's own `trade`, about 210 bytes) to everybody, one in each turn of
its loop, as fast as the loop goes. Delivered messages per second count from the first to the last one; "in one write"
publishes that many messages in one turn. Ages are measured at a steady pace. Crosstape is the hub's own door, session,
market and outbox, fed with trades; the limit is a C loop with one `send()` a subscriber and turn of ready frames.
"""

from __future__ import annotations

import functools
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from msgspec import Struct

from bench.measure import Row, Skip, compare, fact, limit, take_turns

ROUNDS = 3
DELIVERIES = 300_000
SUBSCRIBERS = (100, 1_000, 5_000)
PACED_TURNS = {100: 400, 1_000: 100, 5_000: 30}
HUB_CORE, CLIENT_CORE = 0, 1
OURS, LIMIT = "Crosstape", "C, one send() each"
PEERS = {"fastapi": "FastAPI on uvicorn", "websockets": "websockets broadcast", "socketify": "socketify"}
SUBSCRIBE = '{"action":"subscribe","channels":["trades:binance:BTC-USDT"]}'
HERE = Path(__file__).parent
PAYLOAD = 220
FILES = 6_000


class Delivery(Struct, frozen=True):
    """What the subscribers saw: messages per second, and their ages in ms."""

    rate: float
    p50: float
    p99: float


class Load(Struct, frozen=True):
    """`turns` turns of `at_once` messages to `subscribers`, `rate` turns a second (0: as fast as it goes)."""

    subscribers: int
    turns: int
    at_once: int = 1
    rate: int = 0


def measure() -> list[Row]:
    """Delivered messages per second and their ages."""
    if (compiler := shutil.which("gcc") or shutil.which("cc")) is None:
        raise Skip("there is no C compiler for the load generator")
    if (os.cpu_count() or 1) < 2:
        raise Skip("hub and subscribers need a core each")
    files, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < FILES:
        raise Skip(f"a process may not have {FILES:,} files open here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(files, FILES), most))
    peers = {name: title for name, title in PEERS.items() if find_spec(name) is not None}
    with tempfile.TemporaryDirectory() as folder:
        programs = {name: _compiled(compiler, name, Path(folder)) for name in ("fanout_client", "fanout_limit")}
        run = functools.partial(_run, programs)
        rows: list[Row] = []
        for subscribers in SUBSCRIBERS:
            rows += _rates(run, subscribers, peers)
        rows += _joined(run)
        rows += _ages(run, peers)
        rows.append(_memory(programs))
    return rows


Run = Callable[[str, Load], Delivery]


def _rates(run: Run, subscribers: int, peers: dict[str, str]) -> list[Row]:
    load = Load(subscribers, DELIVERIES // subscribers)
    contenders = {OURS: "crosstape", LIMIT: "limit", **{title: name for name, title in peers.items()}}
    measured = take_turns(
        {title: functools.partial(_rate, run, name, load) for title, name in contenders.items()}, ROUNDS
    )
    what = f"{subscribers:,} subscribers: delivered"
    least = {
        LIMIT: 0.9 if subscribers == 1_000 else None,
        PEERS["fastapi"]: 4.0 if subscribers == 1_000 else None,
        PEERS["socketify"]: 1.0 if subscribers >= 1_000 else None,
    }
    return [compare(what, measured, title, least=least.get(title)) for title in contenders if title != OURS]


def _rate(run: Run, name: str, load: Load) -> float:
    return run(name, load).rate


def _joined(run: Run) -> list[Row]:
    rows = []
    for at_once, least in ((10, 1_500_000.0), (100, None)):
        load = Load(1_000, 3_000 // at_once, at_once)
        measured = take_turns(
            {
                title: functools.partial(_rate, run, name, load)
                for title, name in ((OURS, "crosstape"), (LIMIT, "limit"))
            },
            ROUNDS,
        )
        row = compare(f"1,000 subscribers, {at_once} in one write: delivered", measured, LIMIT)
        if least is not None:
            is_met = median(measured[OURS]) >= least
            row = Row(row.what, row.ours, row.peer, row.theirs, row.ratio, "≥ 1.5 M/s", is_met)
        rows.append(row)
    return rows


def _ages(run: Run, peers: dict[str, str]) -> list[Row]:
    """Ages at 20 k deliveries a second; at 1,000 subscribers that is the issue's 20 messages a second."""
    rows = []
    for subscribers in SUBSCRIBERS:
        load = Load(subscribers, PACED_TURNS[subscribers], rate=20_000 // subscribers)
        names = {OURS: "crosstape", LIMIT: "limit", **{title: name for name, title in peers.items()}}
        found = take_turns({title: functools.partial(_p99, run, name, load) for title, name in names.items()}, ROUNDS)
        what = f"{subscribers:,} subscribers, 20 k deliveries/s: p99 age"
        rows.append(
            limit(what, median(found[OURS]), 15.0) if subscribers == 1_000 else fact(what, median(found[OURS]), " ms")
        )
        rows += [compare(what, found, title, unit=" ms") for title in names if title != OURS]
    return rows


def _p99(run: Run, name: str, load: Load) -> float:
    return run(name, load).p99


def _memory(programs: dict[str, Path]) -> Row:
    subscribers = 5_000
    with _hub("crosstape", programs) as hub, _subscribers(programs, hub, "crosstape", subscribers, 1):
        hub.stdin.write("memory\n")  # type: ignore[union-attr]
        hub.stdin.flush()  # type: ignore[union-attr]
        grown = int(hub.stdout.readline())  # type: ignore[union-attr]
    return limit("memory of one idle subscriber of 5,000", grown / subscribers, 30.0, " KiB")


def _run(programs: dict[str, Path], name: str, load: Load) -> Delivery:
    order = f"{load.turns} {load.at_once} {load.rate}\n"
    if name == "limit":
        order = f"{PAYLOAD} {order}"
    with (
        _hub(name, programs) as hub,
        _subscribers(programs, hub, name, load.subscribers, load.turns * load.at_once) as client,
    ):
        hub.stdin.write(order)  # type: ignore[union-attr]
        hub.stdin.flush()  # type: ignore[union-attr]
        delivered, seconds, p50, p99 = map(float, client.stdout.readline().split())  # type: ignore[union-attr]
    if delivered < load.subscribers * load.turns * load.at_once:
        raise RuntimeError(f"{name} delivered {delivered:.0f} of {load.subscribers * load.turns * load.at_once}")
    return Delivery(delivered / seconds, p50 / 1000, p99 / 1000)


@contextmanager
def _hub(name: str, programs: dict[str, Path]) -> Iterator[subprocess.Popen[str]]:
    own = (str(programs["fanout_limit"]),)
    with _started(own if name == "limit" else (sys.executable, "-m", "bench.fanout_hub", name), HUB_CORE) as hub:
        yield hub


@contextmanager
def _subscribers(
    programs: dict[str, Path], hub: subprocess.Popen[str], name: str, count: int, messages: int
) -> Iterator[subprocess.Popen[str]]:
    """Subscribers that are all connected, and subscribed where the contender has that."""
    port = hub.stdout.readline().strip()  # type: ignore[union-attr]
    own = ("/ws/v1/stream", str(count), str(messages), "bench", SUBSCRIBE)
    path = own if name == "crosstape" else ("/ws", str(count), str(messages))
    with _started((str(programs["fanout_client"]), port, *path), CLIENT_CORE) as client:
        if client.stdout.readline() != "ready\n":  # type: ignore[union-attr]
            raise RuntimeError(f"the subscribers of {name} could not connect")
        yield client


@contextmanager
def _started(command: Sequence[str], core: int) -> Iterator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=HERE.parent) as process:
        os.sched_setaffinity(process.pid, {core})
        try:
            yield process
        finally:
            process.kill()


def _compiled(compiler: str, name: str, folder: Path) -> Path:
    program = folder / name
    subprocess.run([compiler, "-O2", "-o", str(program), str(HERE / f"{name}.c")], check=True)
    return program
