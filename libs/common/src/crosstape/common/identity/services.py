"""The services' names: who issues an internal token and whom it is meant for, and who speaks in logs and traces."""

API_GATEWAY = "api-gateway"
AUTH = "auth"
HISTORY = "history"
INGESTOR = "ingestor"
STREAM_HUB = "stream-hub"
TWAP_ENGINE = "twap-engine"
