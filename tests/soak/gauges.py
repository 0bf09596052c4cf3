"""Figures that the services themselves tell on /metrics: sink lag and slice lateness, over all their lives."""

from __future__ import annotations

from dataclasses import dataclass, field

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.soak.demo import Demo
from tests.soak.judge import merged

LAG = "crosstape_history_lag_seconds"
LATENESS = "crosstape_twap_slice_lateness_seconds_bucket"


@dataclass
class Gauges:
    """`lags` are samples in seconds; `lateness` is a cumulative histogram by process id."""

    lags: list[float] = field(default_factory=list)
    lateness: dict[int, dict[float, float]] = field(default_factory=dict)

    async def sample(self, session: aiohttp.ClientSession, demo: Demo) -> None:
        """Ask once. A process that is just being started again is asked the next time."""
        for listing in demo.processes():
            if listing.name not in ("history", "twap-engine"):
                continue
            try:
                async with session.get(f"{listing.url}/metrics") as response:
                    text = await response.text()
            except (aiohttp.ClientError, TimeoutError):
                continue
            self._read(listing.pid, text)

    def _read(self, pid: int, text: str) -> None:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == LAG and sample.value:
                    self.lags.append(sample.value)
                elif sample.name == LATENESS:
                    self.lateness.setdefault(pid, {})[float(sample.labels["le"])] = sample.value

    @property
    def slices(self) -> dict[float, float]:
        """Slice lateness over all lives of the engine."""
        return merged(self.lateness.values())
