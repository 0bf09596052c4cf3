"""Why a broker cannot be reached. aiokafka keeps the reason to its own log, so the broker is asked once more."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    IllegalSaslStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    UnsupportedSaslMechanismError,
)
from aiokafka.protocol.metadata import MetadataRequest

from crosstape.common.bus.security import (
    CA_FILE,
    CERTIFICATE_FILE,
    MECHANISM,
    PASSWORD,
    PROTOCOL,
    USERNAME,
    told_by_openssl,
)
from crosstape.common.errors import WrongSetting

ANSWER_MS = 2_000
_CERTIFICATE_ALERTS = ("CERTIFICATE", "UNKNOWN_CA")
"""In the names of the alerts of a broker that does not take our certificate."""

Address = tuple[str, int]


class BrokerRefused(WrongSetting):
    """The broker does not take us, or is not the one we trust."""


async def obstacle(bootstrap_servers: str, **options: Any) -> str:
    """What is in the way to the broker, by address, for an operator; empty when nothing is any more.

    `options` are those of `client_options`. Asks every address of the bootstrap list, and those that the broker says
    its nodes have. Raises BrokerRefused when it can only be mended in the settings.
    """
    waiting: list[Address] = [(host, port) for host, port, _ in collect_hosts(bootstrap_servers)]
    asked: set[Address] = set()
    found: list[str] = []
    while waiting:
        host, port = address = waiting.pop()
        if address in asked:
            continue
        asked.add(address)
        try:
            waiting += await _nodes(host, port, options)
        except (KafkaError, OSError) as error:
            cause = _cause(error)
            if reason := _refusal(cause, options):
                raise BrokerRefused(f"the Kafka broker at {host}:{port} {reason}") from error
            found.append(f"{host}:{port}: {_told(cause, options)}")
    return "; ".join(found)


async def _nodes(host: str, port: int, options: Mapping[str, Any]) -> list[Address]:
    """The addresses of the nodes that the broker at `host`:`port` knows."""
    connection = await create_conn(host, port, request_timeout_ms=ANSWER_MS, **options)
    try:
        metadata = await connection.send(MetadataRequest([]))
        return [(node_host, node_port) for _, node_host, node_port, *_ in metadata.brokers]
    finally:
        connection.close()


def _cause(error: BaseException) -> BaseException:
    """A connection that was closed under way says why only in the error behind its own."""
    return error.__cause__ if isinstance(error, KafkaConnectionError) and error.__cause__ else error


def _refusal(error: BaseException, options: Mapping[str, Any]) -> str:
    """What a broker that answered has against us, or we against it, and what to do; empty for anything that passes."""
    match error:
        case SaslAuthenticationFailed():
            user, mechanism = options["sasl_plain_username"], options["sasl_mechanism"]
            return f"does not let {user} in with this password ({mechanism}): check {USERNAME} and {PASSWORD}"
        case UnsupportedSaslMechanismError():
            return f"does not offer {options['sasl_mechanism']}: check {MECHANISM}"
        case IllegalSaslStateError():
            return f"asks for no user: {PROTOCOL} must be {options['security_protocol'].removeprefix('SASL_')} there"
        case ssl.SSLCertVerificationError():
            return f"is not trusted ({error.verify_message}): check {CA_FILE}, and which names its certificate has"
        case ssl.SSLError() if any(alert in (error.reason or "") for alert in _CERTIFICATE_ALERTS):
            return f"does not take our certificate ({told_by_openssl(error)}): check {CERTIFICATE_FILE}"
    return ""


def _told(error: BaseException, options: Mapping[str, Any]) -> str:
    if isinstance(error, EOFError | ConnectionResetError | ssl.SSLError):
        return f"the connection was closed at once: does it speak {options['security_protocol']} there? ({PROTOCOL})"
    if isinstance(error, TimeoutError):
        return "no answer"
    return str(error)
