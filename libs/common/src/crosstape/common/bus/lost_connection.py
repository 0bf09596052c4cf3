"""A connection that was just lost is a Kafka error, as aiokafka's tasks expect.

Between the loss and the moment aiokafka learns of it uvloop answers a write with RuntimeError, which aiokafka (0.14)
lets through: its task that keeps the metadata ends without a word, and a consumer waits for ever for what it would have
brought. It takes one turn of the loop in which both happen, as when a machine that stood still goes on.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError


def tell_as_kafka_error() -> None:
    """Have aiokafka's connections do so. Call it once."""
    AIOKafkaConnection.send = _closing(AIOKafkaConnection.send)
    AIOKafkaConnection._send_sasl_token = _closing(AIOKafkaConnection._send_sasl_token)


def _closing(send: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(send)
    def sent(self: AIOKafkaConnection, *args: Any, **kwargs: Any) -> Any:
        try:
            return send(self, *args, **kwargs)
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"the connection to {self.host}:{self.port} was lost: {error}") from error

    return sent
