"""What the gateway reads from `CROSSTAPE_*` variables."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated

from pydantic import Field, PlainValidator, field_validator
from pydantic_settings import NoDecode

from crosstape.api_gateway.rates import Rate
from crosstape.common.redis_url import RedisUrl
from crosstape.common.runtime.settings import (
    BrokerSettings,
    CommaList,
    InternalSettings,
    OptionalOrigin,
    Origin,
    PageOrigins,
)

RateSetting = Annotated[Rate, NoDecode, PlainValidator(Rate.parse)]
"""Written as `20/s burst 60`."""


class GatewaySettings(InternalSettings, BrokerSettings):
    """Where the services are, and what the edge allows."""

    port: int = Field(8000, ge=0, le=65_535, description="port to listen on; 0 takes a free one")

    history_url: Origin = Field("http://127.0.0.1:8101", description="origin of the history service")
    auth_url: Origin = Field("http://127.0.0.1:8102", description="origin of the auth service")
    stream_hub_url: OptionalOrigin = Field(
        "", description="origin of stream-hub; empty: there is none, and its routes answer 503"
    )
    stream_hub_sockets_url: OptionalOrigin = Field(
        "", description="origin of stream-hub's WebSockets; empty: that of stream-hub"
    )
    twap_url: OptionalOrigin = Field(
        "", description="origin of twap-engine; empty: there is none, and its routes answer 503"
    )
    kafka_bootstrap: str = Field(
        "127.0.0.1:9092",
        pattern=r"^$|^[^,\s]+:\d+(,[^,\s]+:\d+)*$",
        description="host:port[,host:port] of the Kafka-protocol broker, only watched here; empty: not even that",
    )
    redis_url: RedisUrl = Field(
        "redis://127.0.0.1:6379/0",
        description="`redis://` URL: revocations and rate limits. While it is away only market data is answered",
    )

    anonymous_read: bool = Field(True, description="whether market data is open to callers without a credential")
    limit_anonymous: RateSetting = Field(
        Rate.of(20, 60), description="requests of an address (IPv6: a /64) without a credential"
    )
    limit_user: RateSetting = Field(
        Rate.of(50, 200), description="requests of an account, by token or by any of its API keys"
    )
    limit_quant: RateSetting = Field(Rate.of(200, 1000), description="the same, of accounts with the role `quant`")
    limit_admin: RateSetting = Field(Rate.of(200, 1000), description="the same, of accounts with the role `admin`")
    limit_login: RateSetting = Field(
        Rate.of(1, 20), description="logins, registrations and refreshes from an address (IPv6: a /64)"
    )
    limit_failures: RateSetting = Field(Rate.of(0.5, 20), description="wrong credentials from an address (IPv6: a /64)")
    trusted_proxies: CommaList = Field(
        [], description="networks (`10.0.0.0/8`) whose X-Forwarded-For is believed; empty: nobody's is"
    )

    request_deadline_seconds: float = Field(
        10.0, gt=0, description="how long a service may take to begin its answer, and between two parts of it"
    )
    client_stall_seconds: float = Field(
        60.0, gt=0, description="how long a client may take less than 16 KiB of a streamed answer before it is cut"
    )
    body_limit_bytes: int = Field(256 * 1024, ge=0, description="largest request body")
    url_limit_bytes: int = Field(4 * 1024, ge=256, description="longest path and query together")
    header_limit_bytes: int = Field(16 * 1024, ge=1024, description="most bytes of request headers")
    header_seconds: float = Field(10.0, gt=0, description="how long the head of a request may take to arrive")
    connections: int = Field(10_000, ge=1, description="most connections of clients, WebSockets included")
    connections_per_address: int = Field(
        500,
        ge=1,
        description="most connections of an address (IPv6: a /64) that is no trusted proxy's, but for WebSockets",
    )
    sockets_per_address: int = Field(100, ge=1, description="most WebSockets of an address (IPv6: a /64)")

    upstream_connections: int = Field(
        128,
        ge=1,
        description="most connections to one service: a slow one cannot take what others need. Long answers have three "
        "quarters of them at most, those to one address (IPv6: a /64) a quarter",
    )
    connect_seconds: float = Field(2.0, gt=0, description="how long getting a connection to a service may take")
    breaker_failures: int = Field(5, ge=1, description="failures in a row after which a service is left alone")
    breaker_open_seconds: float = Field(5.0, gt=0, description="how long it is left alone before one request probes it")

    health_interval_seconds: float = Field(1.0, gt=0, description="how often the parts of the platform are checked")
    document_seconds: float = Field(60.0, ge=0, description="how old a service's part of /openapi.json may be")
    cors_origins: PageOrigins = Field([], description="browser origins that may call, `*` for all; empty: CORS is off")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, networks: list[str]) -> list[str]:
        for network in networks:
            ip_network(network)
        return networks
