"""Settings of the ingestor."""

from __future__ import annotations

from pydantic import Field

from crosstape.common.runtime.settings import BusUserSettings, CommaList, InternalSettings, OptionalOrigin, Origin


class IngestorSettings(InternalSettings, BusUserSettings):
    """One process reads one exchange; symbols may be split over several processes, and two may read the same ones."""

    exchange: str = Field(description="the exchange to read, by its id")
    symbols: CommaList = Field(
        description="the markets to read, in any spelling, separated by commas; one that is not listed is waited for, "
        "unless none is: then the process ends"
    )
    exchange_origin: OptionalOrigin = Field(
        "", description="origin of a simulator that stands in for every exchange; empty: the real ones"
    )
    history_url: Origin = Field("http://127.0.0.1:8101", description="origin of the history service")
    audit_seconds: float = Field(
        20.0, gt=0, description="how often the tape and the exchange's history are compared for holes"
    )
    stall_seconds: float = Field(
        0.0, ge=0, description="silence after which a socket is taken for dead; 0 takes the exchange's own figure"
    )
