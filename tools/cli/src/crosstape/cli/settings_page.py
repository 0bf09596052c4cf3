"""The page of every setting, made from the services' own settings classes."""

import pkgutil

_CLASSES = {
    "ingestor": "crosstape.ingestor.settings:IngestorSettings",
    "history": "crosstape.history.settings:HistorySettings",
    "stream-hub": "crosstape.stream_hub.settings:HubSettings",
    "auth": "crosstape.auth.settings:AuthSettings",
    "twap-engine": "crosstape.twap_engine.settings:TwapSettings",
    "api-gateway": "crosstape.api_gateway.settings:GatewaySettings",
}
"""By name, looked up when asked for: the command line depends on no service's code."""


def page() -> str:
    """Markdown: one line for each CROSSTAPE_ variable."""
    from crosstape.common.runtime.settings import settings_table

    table = settings_table({service: pkgutil.resolve_name(name) for service, name in _CLASSES.items()})
    return f"# Settings\n\nMade by `crosstape settings`; `make fix` writes this page anew.\n\n{table}"
