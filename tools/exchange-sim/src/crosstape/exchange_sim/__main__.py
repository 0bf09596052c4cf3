"""The command line: `python -m crosstape.exchange_sim --port 0 --port-file F`."""

import argparse
import asyncio
import json
import math
import signal
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import uvloop

from crosstape.exchange_sim.faults import KINDS, UnknownFault, parse_rates
from crosstape.exchange_sim.instruments import BASES, EXCHANGES
from crosstape.exchange_sim.server import running_sim
from crosstape.exchange_sim.settings import SimConfig
from crosstape.exchange_sim.state import write_whole


def names_of(known: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Reads names separated by commas; refuses those that are not `known`."""

    def read(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
        unknown = set(names) - set(known)
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
        return names

    return read


def speed(text: str) -> float:
    factor = math.inf if text == "max" else float(text)
    if not factor > 0:
        raise argparse.ArgumentTypeError("must be above 0, or max")
    return factor


def fault_rates(text: str) -> dict[str, float]:
    try:
        return parse_rates(text)
    except UnknownFault as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="crosstape-exchange-sim",
        description="Simulated exchanges on loopback, each under /{exchange}/{address} and its real path.",
    )
    add = options.add_argument
    add("--port", type=int, default=0, help="TCP port; 0 takes a free one (default)")
    add("--port-file", type=Path, help="file to write the port to when listening")
    add(
        "--exchanges",
        type=names_of(EXCHANGES),
        default=EXCHANGES,
        help="comma separated; default all: " + ",".join(EXCHANGES),
    )
    add_markets = options.add_mutually_exclusive_group().add_argument
    add_markets("--symbols", type=int, default=20, help="bases that trade fast on each exchange (default 20)")
    add_markets("--bases", type=names_of(BASES), default=(), metavar="BTC,ETH,...",
        help="the only bases that are simulated, all of them fast; default: all")  # fmt: skip
    add("--rate", type=float, default=200.0, help="trades per second over all markets (default 200)")
    add("--seed", type=int, default=1, help="same seed, same latent prices and faults (default 1)")
    add("--faults", type=fault_rates, default={}, metavar="KIND=P,...",
        help="probability per frame or request; clock_skew in ms. Kinds: " + ", ".join(KINDS))  # fmt: skip
    add("--state", type=Path, help="folder that keeps ids and recent trades over restarts")
    add("--history", type=int, default=200_000, help="trades kept in memory per market (default 200000)")
    add(
        "--recordings",
        type=Path,
        help="serve the recorded frames of this folder, or this file, instead of simulated markets",
    )
    add(
        "--speed",
        type=speed,
        default=1.0,
        help="of a replay: a factor of the original pace, or max (default 1)",
    )
    add("--times", choices=("recorded", "now"), default="recorded",
        help="of a replay: times in frames unchanged (default), or shifted to now")  # fmt: skip
    return options


async def serve(config: SimConfig, port_file: Path | None) -> None:
    """Serve until SIGINT or SIGTERM; raises what ends the world's time, for then only a new start helps."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with running_sim(config) as sim:
        port = int(sim.address.rpartition(":")[2])
        if port_file:
            write_whole(port_file, f"{port}\n".encode())
        sys.stdout.write(json.dumps({"event": "ready", "address": sim.address, "port": port}) + "\n")
        sys.stdout.flush()
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait({stopping, sim.time}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()


def main() -> None:
    options = vars(parser().parse_args())
    port_file = options.pop("port_file")
    uvloop.run(serve(SimConfig(**options), port_file))


if __name__ == "__main__":
    main()
