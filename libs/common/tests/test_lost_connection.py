"""What aiokafka hears of a connection that was lost a moment ago, on the loop that services run on."""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from aiokafka.conn import AIOKafkaConnection
from aiokafka.errors import KafkaConnectionError
from aiokafka.protocol.metadata import MetadataRequest

import crosstape.common.bus.connection  # noqa: F401  # it changes what aiokafka's connections say


class Connection(AIOKafkaConnection):  # type: ignore[misc]  # aiokafka ships no types
    """To a broker whose versions are known."""

    async def _do_version_lookup(self) -> None:
        self._versions = {MetadataRequest.API_KEY: (0, 5)}


@pytest.mark.parametrize("turns", range(5))
def test_a_request_on_a_connection_that_was_just_lost_is_a_kafka_error(turns: int) -> None:
    async def ask() -> None:
        async with await asyncio.start_server(lambda reader, writer: None, "127.0.0.1") as server:
            connection = Connection(*server.sockets[0].getsockname())
            _, writer = await connection.connect()
            writer.transport.abort()
            for _turn in range(turns):
                await asyncio.sleep(0)
            with pytest.raises(KafkaConnectionError):
                await connection.send(MetadataRequest([]))
            assert not connection.connected()

    uvloop.run(ask())
