"""The API: what the store knows, over HTTP, for the gateway and for the platform's own services."""
