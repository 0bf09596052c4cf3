"""Settings of history, read once from `CROSSTAPE_*` variables."""

from __future__ import annotations

import enum

from pydantic import Field

from crosstape.common.runtime.settings import BusUserSettings, CommaList, InternalSettings, OptionalOrigin
from crosstape.exchanges import DIALECTS


class Role(enum.StrEnum):
    """Which half of the service a process is. `all` is for the embedded store, which one process must own alone."""

    SINK = "sink"
    API = "api"
    ALL = "all"

    @property
    def has_sink(self) -> bool:
        return self is not Role.API

    @property
    def has_api(self) -> bool:
        return self is not Role.SINK


class HistorySettings(InternalSettings, BusUserSettings):
    """What history reads."""

    role: Role = Field(Role.ALL, description="`sink`, `api`, or `all` (needed when the store is embedded)")
    clickhouse_url: str = Field(
        "chdb:///var/lib/crosstape/history",
        description="`chdb:///absolute/path` (embedded) or `http[s]://user:password@host:port/database`",
    )
    clickhouse_cluster: str = Field(
        "", description="name of the ClickHouse cluster to create replicated tables on; empty for a single server"
    )
    exchanges: CommaList = Field(
        default_factory=lambda: list(DIALECTS), description="exchanges the platform answers for"
    )
    exchange_origin: OptionalOrigin = Field(
        "", description="origin of simulated exchanges, such as `http://127.0.0.1:9200`; empty for the real ones"
    )
    flush_rows: int = Field(50_000, ge=1, description="trades after which a batch is stored")
    flush_seconds: float = Field(1.0, gt=0, description="seconds after which a batch is stored, however small")
    grace_seconds: float = Field(1.0, ge=0, description="how long after its end a minute may still get trades")
    quiet_seconds: float = Field(1.0, ge=0, description="how long a minute gets no trade before it is closed")
    query_seconds: float = Field(8.0, gt=0, description="deadline of one query of a request")
    query_threads: int = Field(4, ge=1, description="queries answered at the same time")
    export_threads: int = Field(2, ge=1, description="exports and audits running at the same time")

    @property
    def is_embedded(self) -> bool:
        """Whether this process has the store in it: then it is the only one."""
        return self.clickhouse_url.startswith("chdb:")
