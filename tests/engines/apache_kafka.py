"""Apache Kafka itself for tests: one KRaft node on loopback, from the jars that `make test-kafka` fetched."""

import shutil
import subprocess
from base64 import urlsafe_b64encode
from pathlib import Path

from crosstape.cli import probe
from crosstape.cli.ports import LOOPBACK, free_port
from crosstape.cli.process import Command

JARS = Path(__file__).parents[2] / ".crosstape" / "kafka" / "jars"
_JVM = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_FORMAT_SECONDS = 60
_CLUSTER = urlsafe_b64encode(b"crosstape-tests!").decode().rstrip("=")
"""Kafka's cluster ids are 16 bytes."""


def kafka(port: int, directory: Path) -> Command:
    """Format a storage directory under `directory` and return the command of the node that serves it on `port`."""
    directory.mkdir(parents=True, exist_ok=True)
    java = shutil.which("java")
    if java is None or not any(JARS.glob("kafka-clients-*.jar")):
        raise RuntimeError("Apache Kafka needs Java 17 and its jars: run make test-kafka")
    config = directory / "server.properties"
    config.write_text(_properties(port, free_port(), directory / "data"))
    run = (java, *_JVM, "-cp", f"{JARS}/*")
    formatting = subprocess.run(
        (*run, "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(config)),
        check=False,
        capture_output=True,
        text=True,
        timeout=_FORMAT_SECONDS,
    )
    if formatting.returncode:
        raise RuntimeError(f"Apache Kafka could not format {directory}: {formatting.stdout}{formatting.stderr}")
    return Command(name="kafka", argv=(*run, "kafka.Kafka", str(config)), ready=probe.kafka(LOOPBACK, port))


def _properties(port: int, controller_port: int, data: Path) -> str:
    settings = {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{LOOPBACK}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(data),
        "auto.create.topics.enable": "false",
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        "log.segment.bytes": str(16 * 1024 * 1024),
        "log.index.size.max.bytes": str(1024 * 1024),
    }
    return "".join(f"{key}={value}\n" for key, value in settings.items())
