"""What the gateway reads from `CROSSTAPE_*` variables."""

from __future__ import annotations

from pydantic import Field, HttpUrl, field_validator

from crosstape.common.runtime.settings import CommaList, InternalSettings, comma_list


class GatewaySettings(InternalSettings):
    """Where the services are, and what the edge allows."""

    port: int = Field(8000, ge=0, le=65_535, description="port to listen on; 0 takes a free one")

    history_url: HttpUrl = Field(HttpUrl("http://127.0.0.1:8010"), description="origin of history's REST API")
    kafka_bootstrap: str = Field(
        "127.0.0.1:9092",
        pattern=r"^$|^[^,\s]+:\d+(,[^,\s]+:\d+)*$",
        description="host:port[,host:port] of the Kafka-protocol broker, only watched here; empty: not even that",
    )
    redis_url: str = Field("", description="`redis://` URL of the cache; empty: there is none, and it is not watched")

    request_deadline_seconds: float = Field(
        10.0, gt=0, description="how long a service may take to begin its answer, and between two parts of it"
    )
    client_stall_seconds: float = Field(
        60.0, gt=0, description="how long a client may take nothing of a streamed answer before it is cut"
    )
    body_limit_bytes: int = Field(256 * 1024, ge=0, description="largest request body")
    url_limit_bytes: int = Field(4 * 1024, ge=256, description="longest path and query together")
    header_limit_bytes: int = Field(16 * 1024, ge=1024, description="most bytes of request headers")

    upstream_connections: int = Field(
        128, ge=1, description="most connections to one service: a slow one cannot take what others need"
    )
    connect_seconds: float = Field(2.0, gt=0, description="how long connecting to a service may take")
    breaker_failures: int = Field(5, ge=1, description="failures in a row after which a service is left alone")
    breaker_open_seconds: float = Field(5.0, gt=0, description="how long it is left alone before one request probes it")

    health_interval_seconds: float = Field(1.0, gt=0, description="how often the parts of the platform are checked")
    document_seconds: float = Field(60.0, ge=0, description="how old a service's part of /openapi.json may be")
    cors_origins: CommaList = Field([], description="browser origins that may call, `*` for all; empty: CORS is off")

    _cors = field_validator("cors_origins", mode="before")(comma_list)

    @field_validator("history_url")
    @classmethod
    def _is_origin(cls, url: HttpUrl) -> HttpUrl:
        if url.path not in (None, "/") or url.query or url.username:
            raise ValueError("must be scheme://host:port and nothing more")
        return url
