"""The page of every setting, made from the services' own settings classes."""

import pkgutil

from crosstape.common.identity import services

_CLASSES = {
    services.INGESTOR: "crosstape.ingestor.settings:IngestorSettings",
    services.HISTORY: "crosstape.history.settings:HistorySettings",
    services.STREAM_HUB: "crosstape.stream_hub.settings:HubSettings",
    services.AUTH: "crosstape.auth.settings:AuthSettings",
    services.TWAP_ENGINE: "crosstape.twap_engine.settings:TwapSettings",
    services.API_GATEWAY: "crosstape.api_gateway.settings:GatewaySettings",
}
"""By name, looked up when asked for: the command line depends on no service's code."""


def page() -> str:
    """Markdown: one line for each CROSSTAPE_ variable."""
    from crosstape.common.runtime.settings import settings_table

    table = settings_table({service: pkgutil.resolve_name(name) for service, name in _CLASSES.items()})
    return f"# Settings\n\nMade by `crosstape settings`; `make fix` writes this page anew.\n\n{table}"
