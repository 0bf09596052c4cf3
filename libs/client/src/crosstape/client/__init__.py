"""The Python SDK of Crosstape: REST and WebSocket, async and sync, DataFrames."""
