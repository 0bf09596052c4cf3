"""The platform's services, and their modules."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from crosstape.common.identity import services

SERVICES = {
    services.INGESTOR: "crosstape.ingestor",
    services.HISTORY: "crosstape.history",
    services.STREAM_HUB: "crosstape.stream_hub",
    services.TWAP_ENGINE: "crosstape.twap_engine",
    services.AUTH: "crosstape.auth",
    services.API_GATEWAY: "crosstape.api_gateway",
}
"""Every service and its package, in the order of the data's way."""


def sources(package: str) -> Iterator[tuple[str, str]]:
    """The name and the text of every module of a package, none of them imported."""
    spec = importlib.util.find_spec(package)
    for folder in (spec.submodule_search_locations if spec else None) or ():
        root = Path(folder)
        for path in sorted(root.rglob("*.py")):
            parts = path.relative_to(root).with_suffix("").parts
            yield ".".join([package, *parts]).removesuffix(".__init__"), path.read_text()
