"""The engines really start, carry a message, come back after a crash, and leave no process behind."""

import asyncio
import socket
from pathlib import Path

import psutil
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from crosstape.cli import engines, ports
from crosstape.cli.process import Process
from tests.engines import containers
from tests.engines.plugin import Broker, Valkey

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(containers.are_wanted(), reason="of the engines of one machine, not of containers"),
]


async def _round_trip(broker: Broker, topic: str, value: bytes) -> bytes:
    admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, num_partitions=1, replication_factor=1)])
    await admin.close()
    async with AIOKafkaProducer(bootstrap_servers=broker.bootstrap, compression_type="lz4", acks="all") as producer:
        await producer.send_and_wait(topic, value, key=b"binance:BTC-USDT")
    async with AIOKafkaConsumer(
        topic, bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", fetch_max_wait_ms=10
    ) as consumer:
        record = await asyncio.wait_for(consumer.getone(), 60)
    assert record.key == b"binance:BTC-USDT"
    return bytes(record.value or b"")


async def _redis(port: int, *words: str) -> bytes:
    reader, writer = await asyncio.open_connection(ports.LOOPBACK, port)
    writer.write(" ".join(words).encode() + b"\r\n")
    answer = await reader.readline()
    if answer.startswith(b"$") and answer != b"$-1\r\n":
        answer = await reader.readline()
    writer.close()
    return answer.strip()


async def test_broker_carries_a_message(broker: Broker) -> None:
    assert await _round_trip(broker, "round-trip", b"one trade") == b"one trade"


async def test_valkey_keeps_what_it_acknowledged_through_kill(own_valkey: Valkey) -> None:
    assert await _redis(own_valkey.engine.port, "SET", "revoked:token", "1") == b"+OK"
    assert await _redis(own_valkey.engine.port, "WAITAOF", "1", "0", "2000") != b""
    own_valkey.kill()
    await own_valkey.restart()
    assert await _redis(own_valkey.engine.port, "GET", "revoked:token") == b"1"


async def test_engines_listen_on_loopback_only(broker: Broker, valkey: Valkey) -> None:
    for engine in (broker.engine, valkey.engine):
        listening = {
            connection.laddr.ip.removeprefix("::ffff:")
            for connection in psutil.Process(engine.pid).net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {ports.LOOPBACK}


async def test_stopped_engine_frees_its_port(tmp_path: Path) -> None:
    port = ports.free_port()
    process = Process(engines.valkey(port, tmp_path / "data"), tmp_path / "valkey.log")
    process.start()
    await process.wait_ready(60)
    pid = process.pid
    assert await process.stop(60)
    assert not psutil.pid_exists(pid)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((ports.LOOPBACK, port))
