"""Settings that several services share, read once from `CROSSTAPE_*` variables; and the table that documents them."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from crosstape.common.bus.connection import BusProfile, BusSettings

CommaList = Annotated[list[str], NoDecode]
"""A list written as `a,b,c`."""


class ServiceSettings(BaseSettings):
    """What every service reads."""

    model_config = SettingsConfigDict(env_prefix="CROSSTAPE_", frozen=True, extra="ignore")

    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(0, ge=0, le=65_535, description="port to listen on; 0 takes a free one")
    log_level: str = Field(
        "INFO", pattern="^(?i:DEBUG|INFO|WARNING|ERROR)$", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: str = Field("json", pattern="^(json|console)$", description="`json`, or `console` for people")
    shutdown_seconds: float = Field(10.0, gt=0, description="how long a drain may take after SIGTERM")


class BusUserSettings(ServiceSettings):
    """What every service on the bus reads."""

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="host:port[,host:port] of the Kafka-protocol broker")
    bus_profile: BusProfile = Field(
        BusProfile.KAFKA, description="`kafka`, or `embedded` for Tansu (in memory, no idempotent producer)"
    )
    topic_replication: int = Field(1, ge=1, description="replicas of the topics that are created")

    @property
    def bus(self) -> BusSettings:
        return BusSettings(self.kafka_bootstrap, self.bus_profile, self.topic_replication)


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
