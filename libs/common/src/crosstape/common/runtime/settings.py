"""Settings that several services share, read once from `CROSSTAPE_*` variables; and the table that documents them."""

from __future__ import annotations

import os
import re
import sys
from typing import Annotated, Any, Self, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from crosstape.common.bus.connection import BusSettings
from crosstape.common.bus.security import SaslMechanism, SecurityProtocol, Tls, chosen_sasl, chosen_tls
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.identity.secrets import SecretList, secrets_in

_HOST_AND_PORT = r"://(?:[^\s/?#@:*\[\]]+|\[[\da-fA-F:.]+\])(?::(\d{1,5}))?/?"
_ORIGIN = re.compile("https?" + _HOST_AND_PORT)
_PAGE_ORIGIN = re.compile("[a-z][a-z0-9+.-]*" + _HOST_AND_PORT)


def _is_whole(form: re.Pattern[str], text: str) -> bool:
    found = form.fullmatch(text)
    return found is not None and 1 <= int(found[1] or 1) <= 65_535


def _origin(text: str) -> str:
    if not _is_whole(_ORIGIN, text):
        raise ValueError("must be http://host:port or https://host:port and nothing more")
    return text.removesuffix("/")


def _page_origins(texts: list[str]) -> list[str]:
    texts = [text.lower() for text in texts]
    for text in texts:
        if text != "*" and not _is_whole(_PAGE_ORIGIN, text):
            raise ValueError(f"{text} must be scheme://host:port and nothing more, or *")
    return [text.removesuffix("/") for text in texts]


def _origin_or_none(text: str) -> str:
    return text and _origin(text)


def comma_list(value: Any) -> Any:
    """The parts of a text `a,b,c`; a list as it is."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


Origin = Annotated[str, AfterValidator(_origin)]
"""Where a service answers HTTP: `http[s]://host[:port]`, kept without a slash at its end."""
OptionalOrigin = Annotated[str, AfterValidator(_origin_or_none)]
"""The same, or empty."""
CommaList = Annotated[list[str], NoDecode, BeforeValidator(comma_list)]
"""A list written as `a,b,c`."""
PageOrigins = Annotated[CommaList, AfterValidator(_page_origins)]
"""Such a list of what browsers say of a page (its `Origin`), as they write it, or `*`. A page may be an app's own, of
any scheme."""


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

    internal_secret: SecretList = Field(
        description="shared by all services, at least 32 bytes: signs what they tell each other about a caller; "
        "`new,old` while it is rotated"
    )

    def internal_tokens(self, service: str) -> InternalTokens:
        """What `service` shows others, and verifies of them."""
        return InternalTokens(service, secrets_in(self.internal_secret))


class BrokerSettings(ServiceSettings):
    """What every service reads that connects to the broker, be it only to see whether it answers."""

    kafka_security_protocol: SecurityProtocol = Field(
        "PLAINTEXT",
        description="what the broker's listener speaks: `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`",
    )
    kafka_ssl_ca_file: str = Field(
        "", description="PEM file of the authorities that may sign the broker's certificate; empty: the system's"
    )
    kafka_ssl_certificate_file: str = Field(
        "", description="PEM file of the certificate to show a broker that wants one; empty: none"
    )
    kafka_ssl_key_file: str = Field("", description="PEM file of that certificate's key, without a passphrase")

    @property
    def broker_tls(self) -> Tls | None:
        """None where TLS is not spoken."""
        return chosen_tls(
            self.kafka_security_protocol,
            self.kafka_ssl_ca_file,
            self.kafka_ssl_certificate_file,
            self.kafka_ssl_key_file,
        )

    @model_validator(mode="after")
    def _tls_files_are_of_use(self) -> Self:
        if self.broker_tls is not None:
            self.broker_tls.context()
        return self


class BusUserSettings(BrokerSettings):
    """What every service on the bus reads."""

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="host:port[,host:port] of the Kafka-protocol broker")
    kafka_sasl_mechanism: SaslMechanism = Field(
        "", description="how the user is proved to it with SASL: `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`"
    )
    kafka_sasl_username: str = Field("", description="the user that it knows us as, with SASL")
    kafka_sasl_password: SecretStr = Field(SecretStr(""), description="that user's password")
    topic_replication: int = Field(1, ge=1, description="replicas of the topics that are created")

    @property
    def bus(self) -> BusSettings:
        sasl = chosen_sasl(
            self.kafka_security_protocol,
            self.kafka_sasl_mechanism,
            self.kafka_sasl_username,
            self.kafka_sasl_password,
        )
        return BusSettings(self.kafka_bootstrap, self.topic_replication, self.broker_tls, sasl)

    @model_validator(mode="after")
    def _bus_is_whole(self) -> Self:
        _ = self.bus
        return self


S = TypeVar("S", bound=BaseSettings)


def read_settings(kind: type[S]) -> S:
    """The process's settings from its environment. Exits 2 with a line for each variable that is missing or wrong."""
    try:
        return kind()
    except ValidationError as error:
        for problem in error.errors():
            path = ".".join(map(str, problem["loc"])).upper()
            variable = f"CROSSTAPE_{path}: " if path else ""  # a rule between several names them itself
            sys.stderr.write(f"error: {variable}{problem['msg'].removeprefix('Value error, ')}\n")
        sys.exit(2)


_SECRETS_DIR = (
    "CROSSTAPE_SECRETS_DIR",
    "",
    "folder of files that are named like the variables and hold their values; a variable comes before its file",
)
"""Read before any settings are."""


def settings_table(services: dict[str, type[ServiceSettings]]) -> str:
    """Markdown table of every variable: which services read it, its default and its meaning.

    A variable that services default or explain differently has a line for each.
    """
    rows: dict[tuple[str, str, str], list[str]] = {_SECRETS_DIR: list(services)}
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
    return "" if value is None or value == {} or not text else f"`{text}`"
