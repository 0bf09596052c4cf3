"""Settings that several services share, read once from `CROSSTAPE_*` variables; and the table that documents them."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from crosstape.common.bus.connection import BusSettings
from crosstape.common.identity.internal import InternalTokens

CommaList = Annotated[list[str], NoDecode]
"""A list written as `a,b,c`."""


class ServiceSettings(BaseSettings):
    """What every service reads."""

    model_config = SettingsConfigDict(
        env_prefix="CROSSTAPE_",
        frozen=True,
        extra="ignore",
        secrets_dir=os.environ.get("CROSSTAPE_SECRETS_DIR") or None,
        hide_input_in_errors=True,
    )

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(0, ge=0, le=65_535, description="port to listen on; 0 takes a free one")
    log_level: str = Field(
        "INFO", pattern="^(?i:DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: str = Field("json", pattern="^(json|console)$", description="`json`, or `console` for people")
    otlp_endpoint: str = Field(
        "",
        pattern=r"^$|^https?://[^/\s?#@]+(/[^\s?#]*)?$",
        description="origin of an OpenTelemetry collector that takes traces as OTLP over HTTP, such as "
        "`http://127.0.0.1:4318`; empty: no traces",
    )
    trace_ratio: float = Field(
        0.01, ge=0, le=1, description="share of what begins here (a record, a request) that is traced, 0 to 1"
    )
    shutdown_seconds: float = Field(10.0, gt=0, description="how long a drain may take after SIGTERM")


class InternalSettings(ServiceSettings):
    """What every service reads that asks or answers another one over HTTP."""

    internal_secret: SecretStr = Field(
        description="shared by all services, at least 32 bytes: signs what they tell each other about a caller; "
        "`new,old` while it is rotated"
    )

    @field_validator("internal_secret")
    @classmethod
    def _is_long_enough(cls, secret: SecretStr) -> SecretStr:
        InternalTokens("", secret.get_secret_value().split(","))
        return secret

    def internal_tokens(self, service: str) -> InternalTokens:
        """What `service` shows others, and verifies of them."""
        return InternalTokens(service, self.internal_secret.get_secret_value().split(","))


class BusUserSettings(ServiceSettings):
    """What every service on the bus reads."""

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="host:port[,host:port] of the Kafka-protocol broker")
    topic_replication: int = Field(1, ge=1, description="replicas of the topics that are created")

    @property
    def bus(self) -> BusSettings:
        return BusSettings(self.kafka_bootstrap, self.topic_replication)


S = TypeVar("S", bound=BaseSettings)


def read_settings(kind: type[S]) -> S:
    """The process's settings from its environment. Exits 2 with a line for each variable that is missing or wrong."""
    try:
        return kind()
    except ValidationError as error:
        for problem in error.errors():
            variable = "CROSSTAPE_" + ".".join(map(str, problem["loc"])).upper()
            sys.stderr.write(f"error: {variable}: {problem['msg']}\n")
        sys.exit(2)


def comma_list(value: Any) -> Any:
    """A validator for CommaList: splits text, leaves lists alone."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def settings_table(services: dict[str, type[ServiceSettings]]) -> str:
    """Markdown table of every variable: which services read it, its default and its meaning.

    A variable that services default or explain differently has a line for each.
    """
    rows: dict[tuple[str, str, str], list[str]] = {}
    for service, settings in services.items():
        for name, field in settings.model_fields.items():
            key = (f"CROSSTAPE_{name.upper()}", _default(field), field.description or "")
            rows.setdefault(key, []).append(service)
    lines = ["| variable | default | meaning | read by |", "|---|---|---|---|"]
    for (variable, default, meaning), readers in sorted(rows.items()):
        lines.append(f"| `{variable}` | {default} | {meaning.replace('|', '&#124;')} | {', '.join(readers)} |")
    return "\n".join(lines) + "\n"


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True, validated_data={})
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return "" if value is None or not text else f"`{text}`"
